"""An exported model as it is used without the trained one: decode, ONNX Runtime, answers.

N samples; of vectors, D numbers each.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sightline.data.decode import Pixels, decode
from sightline.data.images import reason
from sightline.data.vector_rows import bad_rows
from sightline.data.vector_samples import unit_length
from sightline.data.views import central_view, render
from sightline.errors import DataError, RunError
from sightline.exporting.description import FORMAT, METADATA_KEY
from sightline.exporting.runtime import answers_of, open_session

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class ExportedModel:
    """An ONNX file that sightline export wrote, opened with ONNX Runtime on the CPU."""

    session: Any
    description: dict[str, Any]
    """What model.json says, but for what was measured."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes in the order of the logits; empty where the outputs are none of classes."""
        return tuple(self.description.get("class_names", ()))

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the input; only where samples are pictures."""
        height, width = self.description["input"]["shape"][2:]
        return height, width

    @property
    def takes_vectors(self) -> bool:
        """Whether samples are vectors, not pictures."""
        return bool(self.description["input"]["name"] == "vectors")

    def answer(
        self, samples: Sequence[Path | str | Pixels] | Floats, batch_size: int = 32
    ) -> dict[str, npt.NDArray[Any]]:
        """Every output by its name, rows in the order of the samples.

        A picture is a file, or the (H, W, 3) uint8 RGB pixels of one; vectors are (N, D), float32.
        Raises DataError for no samples, one that is no such thing, a file that cannot be decoded,
        and vectors of another size or with NaN or infinity.
        """
        if not len(samples):
            what = "vectors" if self.takes_vectors else "pictures"
            raise DataError(f"There are no {what} to answer for.", expected="one or more")
        parts = []
        for start in range(0, len(samples), batch_size):
            some = samples[start : start + batch_size]
            ready = self._vectors(some, start) if self.takes_vectors else self._pictures(some)
            parts.append(answers_of(self.session, ready, batch_size))
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def prepare(self, picture: Path | str | Pixels) -> npt.NDArray[np.uint8]:
        """One picture as the model sees it, (3, H, W) uint8; errors as of `answer`."""
        said = self.description["input"]
        pixels = picture if isinstance(picture, np.ndarray) else _decoded(picture, said)
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
            raise DataError(
                "An array is no picture.",
                expected="(H, W, 3) uint8, red green blue",
                got=f"{pixels.shape} {pixels.dtype}",
            )
        height, width, _ = pixels.shape
        out = np.empty((*self.size, 3), np.uint8)
        render(pixels, central_view(height, width, said["fit"], self.size), self.size, out)
        return out.transpose(2, 0, 1)

    def _pictures(self, some: Sequence[Path | str | Pixels] | Floats) -> npt.NDArray[np.uint8]:
        return np.stack([self.prepare(one) for one in some])

    def _vectors(self, some: Sequence[Any] | Floats, start: int) -> Floats:
        said = self.description["input"]
        size, given = said["shape"][1], np.asarray(some)
        if given.dtype.kind not in "fiu" or given.ndim != 2 or given.shape[1] != size:
            raise DataError(
                "These are not vectors as the exported model takes them.",
                expected=f"(N, {size}) float32",
                got=f"{given.shape} {given.dtype}",
                remedy="name vectors of the model that it was trained for",
            )
        vectors = given.astype(np.float32)
        if len(bad := bad_rows(vectors)):
            raise DataError(
                "A vector is not finite.",
                expected="finite numbers in every row",
                got=f"NaN or infinity in row {start + bad[0]} (from 0)",
                remedy="repair it or leave it out",
            )
        return unit_length(vectors) if said["unit_length"] else vectors


def load_exported(path: Path | str) -> ExportedModel:
    """The model in an ONNX file, or in the folder of one that is called model.onnx.

    Raises RunError for a file that is missing, is no ONNX, or was not written by sightline export.
    """
    file = Path(path)
    file = file / "model.onnx" if file.is_dir() else file
    if not file.is_file():
        raise RunError(
            "There is no exported model.", where=file, remedy="make it: sightline export RUN"
        )
    session = open_session(file)
    text = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
    description = None if text is None else json.loads(text)
    if description is None or description.get("format") != FORMAT:
        raise RunError(
            "The ONNX file does not say how it is to be used.",
            expected=f"metadata under {METADATA_KEY!r} of format {FORMAT}",
            got="none" if description is None else f"format {description.get('format')}",
            where=file,
            remedy="make it anew: sightline export RUN",
        )
    return ExportedModel(session, description)


def _decoded(picture: Path | str, said: dict[str, Any]) -> Pixels:
    try:
        return decode(Path(picture).read_bytes(), said["shorter_side"])
    except (OSError, ValueError) as error:
        raise DataError(
            "An image cannot be decoded.", got=reason(error), where=picture, remedy="repair it"
        ) from error
