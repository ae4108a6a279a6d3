"""`sightline predict` of a compression run: the shorter vectors of tables of vectors.

N vectors of D numbers, d numbers of each that comes out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from sightline.data.vector_files import VectorTable, open_vectors
from sightline.data.vector_rows import bad_rows
from sightline.data.vector_samples import unit_length
from sightline.errors import DataError, UsageError
from sightline.evaluation import as_csv
from sightline.runs import RunFolder
from sightline.runs.files import replace_atomically
from sightline.tasks.compress_config import CompressConfig
from sightline.trained import load_trained, require_answers
from sightline.trained.model import TrainedModel
from sightline.trained.predictor import create_predictor
from sightline.training.runtime import cache_folder

Say = Callable[[str], object]
Floats = npt.NDArray[np.float32]
_BLOCK = 8192
ENDINGS = (".npy", ".csv")


def encode_files(
    run: RunFolder,
    inputs: Sequence[Path],
    out: Path,
    *,
    checkpoint: str | None = None,
    device: str = "auto",
) -> tuple[int, int]:
    """Write the shorter vectors (N, d) of all rows of some tables, in their order; (N, d).

    A name that ends in .npy gets float32 numbers, .csv a line for each row. Blocks are encoded one
    after the other, so a table need not fit into memory; the file appears when it is complete.
    Raises DataError for vectors of another size than the run's, and for rows with NaN or infinity.
    """
    require_answers(run, "vectors", "encoding vectors")
    if out.suffix.lower() not in ENDINGS:
        raise UsageError(
            "The ending of the file does not say how vectors are to be written.",
            expected=f"a name that ends in {' or '.join(ENDINGS)}",
            got=out,
            where="--out",
        )
    name = create_predictor(run, checkpoint=checkpoint, device=device).members[0].checkpoint
    trained = load_trained(run, name, device=device)
    config = trained.config
    assert isinstance(config, CompressConfig)
    tables = [
        open_vectors(file, column=config.data.column, cache_dir=cache_folder()) for file in inputs
    ]
    for table in tables:
        _require_usable(table, config)
    count, width = sum(len(table.values) for table in tables), config.model.latent_dim
    encoded = (block for table in tables for block in _encoded(table, trained, config))
    with replace_atomically(out) as handle:
        if out.suffix.lower() == ".npy":
            header = {"descr": "<f4", "fortran_order": False, "shape": (count, width)}
            np.lib.format.write_array_header_1_0(handle, header)
            for block in encoded:
                handle.write(block.astype("<f4").tobytes())
        else:
            handle.write(as_csv([[f"z{number}" for number in range(width)]]).encode())
            for block in encoded:
                handle.write(as_csv(block.tolist()).encode())
    return count, width


def _encoded(table: VectorTable, trained: TrainedModel, config: CompressConfig) -> Iterator[Floats]:
    trained.model.eval()
    for start in range(0, len(table.values), _BLOCK):
        # A copy: what is mapped must not be written to, which torch cannot promise.
        block = np.array(table.values[start : start + _BLOCK], np.float32)
        if config.data.normalize:
            block = unit_length(block)
        with torch.no_grad():
            yield trained.model(torch.from_numpy(block).to(trained.device)).cpu().numpy()


def _require_usable(table: VectorTable, config: CompressConfig) -> None:
    found, expected = table.values.shape[1], config.model.input_dim
    if found != expected:
        raise DataError(
            "The vectors have another size than those the run was trained with.",
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
