"""An exported model as it is used without the trained one: decode, ONNX Runtime, answers."""

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
from sightline.data.views import central_view, render
from sightline.errors import DataError, RunError
from sightline.exporting.description import FORMAT, METADATA_KEY
from sightline.exporting.runtime import answers_of, open_session


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
        """Height and width of the input."""
        height, width = self.description["input"]["shape"][2:]
        return height, width

    def answer(
        self, pictures: Sequence[Path | str | Pixels], batch_size: int = 32
    ) -> dict[str, npt.NDArray[Any]]:
        """Every output by its name, rows in the order of the pictures.

        A picture is a file, or the (H, W, 3) uint8 RGB pixels of one. Raises DataError for no
        pictures, one that is neither, and a file that cannot be decoded.
        """
        if not len(pictures):
            raise DataError("There are no pictures to answer for.", expected="one or more")
        parts = []
        for start in range(0, len(pictures), batch_size):
            ready = [self.prepare(one) for one in pictures[start : start + batch_size]]
            parts.append(answers_of(self.session, np.stack(ready), batch_size))
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
