"""`sightline predict` for vectors: the shorter vectors, or the codes, of tables of vectors.

N vectors of D numbers, W numbers of each that comes out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from sightline.data.vector_files import VectorTable, open_vectors
from sightline.data.vector_rows import bad_rows
from sightline.data.vector_samples import unit_length
from sightline.errors import CheckpointError, DataError, UsageError
from sightline.evaluation import as_csv
from sightline.runs import RunFolder
from sightline.runs.files import replace_atomically
from sightline.tasks.compress_config import CompressConfig
from sightline.trained import load_trained, require_answers
from sightline.trained.codec_folder import DESCRIPTION, describe_codec, load_codec
from sightline.trained.predictor import create_predictor
from sightline.training.runtime import cache_folder

_BLOCK = 8192
ENDINGS = (".npy", ".csv")


@dataclass(frozen=True, eq=False)
class Encoder:
    """What makes a block (B, D) float32 an array (B, W) of a type; a table has `column`."""

    encode: Callable[[npt.NDArray[np.float32]], npt.NDArray[Any]]
    input_dim: int
    width: int
    dtype: np.dtype[Any]
    column: str | None = None
    prefix: str = "z"
    """Begins the name of each column in a .csv file."""


def encoder_of_run(
    run: RunFolder, *, checkpoint: str | None = None, device: str = "auto"
) -> Encoder:
    """The trained encoder of a compression run; its vectors are float32."""
    require_answers(run, "vectors", "encoding vectors")
    name = create_predictor(run, checkpoint=checkpoint, device=device).members[0].checkpoint
    trained = load_trained(run, name, device=device)
    config = trained.config
    assert isinstance(config, CompressConfig)
    trained.model.eval()

    def encode(block: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
        values = unit_length(block) if config.data.normalize else block
        with torch.no_grad():
            return np.asarray(trained.model(torch.from_numpy(values).to(trained.device)).cpu())

    size, width = config.model.input_dim, config.model.latent_dim
    assert size is not None
    return Encoder(encode, size, width, np.dtype(np.float32), config.data.column)


def codec_of(place: Path) -> Path | None:
    """The folder of a codec, if it is one."""
    return place if (place / DESCRIPTION).is_file() else None


def encoder_of_codec(folder: Path) -> Encoder:
    """The codec that `sightline compress` wrote; codes have the type that it stores them in."""
    codec, about = load_codec(folder), describe_codec(folder)["about"]
    size = about.get("numbers")
    if not isinstance(size, int):
        raise CheckpointError(
            "The codec does not say what vectors it takes.",
            expected="numbers in the about of codec.json",
            got=size,
            where=folder,
            remedy="use it in Python: sightline.encoding.load_codec",
        )
    codes = codec.encode(torch.zeros(1, size)).numpy()

    def encode(block: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
        return codec.encode(torch.from_numpy(block)).numpy()

    return Encoder(encode, size, codes.shape[1], codes.dtype, about.get("column"), prefix="code")


def encode_files(encoder: Encoder, inputs: Sequence[Path], out: Path) -> int:
    """Write what an encoder makes of all rows of some tables, in their order; return N.

    A name that ends in .npy gets an array (N, W), .csv a line for each row. Blocks are encoded one
    after the other, so a table need not fit into memory; the file appears when it is complete.
    Raises DataError for vectors of another size than the encoder's, and for rows with NaN or
    infinity.
    """
    if out.suffix.lower() not in ENDINGS:
        raise UsageError(
            "The ending of the file does not say how vectors are to be written.",
            expected=f"a name that ends in {' or '.join(ENDINGS)}",
            got=out,
            where="--out",
        )
    tables = [
        open_vectors(file, column=encoder.column, cache_dir=cache_folder()) for file in inputs
    ]
    for table in tables:
        _require_usable(table, encoder.input_dim)
    count, width = sum(len(table.values) for table in tables), encoder.width
    encoded = (block for table in tables for block in _encoded(table, encoder))
    stored = encoder.dtype.newbyteorder("<")
    with replace_atomically(out) as handle:
        if out.suffix.lower() == ".npy":
            described = np.lib.format.dtype_to_descr(stored)
            header = {"descr": described, "fortran_order": False, "shape": (count, width)}
            np.lib.format.write_array_header_1_0(handle, header)
            for block in encoded:
                handle.write(block.astype(stored).tobytes())
        else:
            names = [f"{encoder.prefix}{number}" for number in range(width)]
            handle.write(as_csv([names]).encode())
            for block in encoded:
                handle.write(as_csv(block.tolist()).encode())
    return count


def _encoded(table: VectorTable, encoder: Encoder) -> Iterator[npt.NDArray[Any]]:
    for start in range(0, len(table.values), _BLOCK):
        # A copy: what is mapped must not be written to, which torch cannot promise.
        yield encoder.encode(np.array(table.values[start : start + _BLOCK], np.float32))


def _require_usable(table: VectorTable, expected: int) -> None:
    found = table.values.shape[1]
    if found != expected:
        raise DataError(
            "The vectors have another size than those that were learnt from.",
            expected=f"{expected} numbers in each row",
            got=f"{found}",
            where=table.file,
            remedy="name vectors of the same model, or another run",
        )
    bad = bad_rows(table.values)
    if len(bad):
        raise DataError(
            f"{len(bad)} of {len(table.values)} rows hold numbers that are not finite.",
            expected="finite numbers in every row",
            got=f"NaN or infinity in rows {', '.join(str(row) for row in bad[:5])} (from 0)",
            where=table.file,
            remedy="repair or remove them",
        )
