"""A codec's encoder as an ONNX file, compared with the codec on held-out rows before it is kept.

N vectors of D numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from sightline.errors import RunError
from sightline.exporting.description import METADATA_KEY, vector_input_of, versions
from sightline.exporting.graph import Graph, onnx_bytes, opset_of, require_packages
from sightline.exporting.runtime import answers_of, open_session
from sightline.models.codec import Codec
from sightline.runs.files import write_atomically
from sightline.runs.plain import to_json

MOST_DIFFERENT = 1e-4
"""Share of codes that may be another one, where a number lies between two."""
_TOLERANCE = {"float32": 1e-4, "float16": 2e-3}
"""Of the largest number; one step of float16 is a thousandth."""


@dataclass(frozen=True, slots=True)
class CodeParity:
    """How the codes of the file differ from the codec's."""

    vectors: int
    codes: int
    different: int
    """Codes, of bits single ones, that are another; of float ones, those beyond the tolerance."""
    largest_step: float
    """The largest difference: steps of int8, a share of the largest number of float codes."""

    @property
    def share(self) -> float:
        """Different ones of all."""
        return self.different / max(self.codes, 1)

    def summary(self) -> str:
        """One sentence."""
        return (
            f"codes: {self.different} of {self.codes} differ from the codec's ({self.vectors} "
            f"vectors, largest difference {self.largest_step:.2g})"
        )


def export_codec(
    codec: Codec,
    vectors: npt.NDArray[np.float32],
    target: Path,
    *,
    opset: int | None = None,
    about: Mapping[str, Any] | None = None,
) -> CodeParity:
    """Write `vectors` (batch, D) float32 -> `codes` as an ONNX file, for any number of vectors.

    It is compared with the codec on held-out vectors (N, D), N at least 2, alone, by threes and
    all together. Raises RunError, and writes nothing, where more than a ten-thousandth of the codes
    differ or one by more than a step; MissingExtraError without the packages of the extra.
    """
    require_packages()
    values = np.ascontiguousarray(vectors, np.float32)
    graph = Graph(codec, ("codes",), lambda codes: (codes,), input_name="vectors")
    description = {
        "codec": codec.describe(),
        "input": vector_input_of(values, normalize=codec.normalize),
        "output": {"name": "codes", "meaning": _meaning(codec)},
        "versions": versions(),
        "about": dict(about or {}),
    }
    metadata = {METADATA_KEY: to_json(description), "input": "float32 vectors, as they are"}
    content = onnx_bytes(graph, torch.from_numpy(values[:2]), opset=opset, about=metadata)
    parity = compare_codes(codec, open_session(content), values)
    _require_equal(codec, parity, target)
    measured = {"opset": opset_of(content), "measured": asdict(parity)}
    write_atomically(target, content)
    write_atomically(target.with_suffix(".json"), to_json(description | measured, indent=1) + "\n")
    return parity


def compare_codes(codec: Codec, session: Any, vectors: npt.NDArray[np.float32]) -> CodeParity:
    """The differences of a session's codes for vectors (N, D) in the worst of three batch sizes."""
    expected = codec.encode(torch.from_numpy(vectors)).numpy()
    found = []
    for size in sorted({1, min(3, len(vectors)), len(vectors)}):
        # Alone, a few say as much as all.
        rows = vectors if size > 1 else vectors[:64]
        codes = answers_of(session, rows, size)["codes"]
        found.append(_parity(codec, expected[: len(rows)], codes))
    return max(found, key=lambda one: (one.share, one.largest_step))


def _parity(codec: Codec, expected: npt.NDArray[Any], codes: npt.NDArray[Any]) -> CodeParity:
    if (expected.shape, expected.dtype) != (codes.shape, codes.dtype):
        raise RunError(
            "The codes of the exported codec have another shape or type.",
            expected=f"{expected.shape} {expected.dtype}",
            got=f"{codes.shape} {codes.dtype}",
        )
    kind = codec.quantizer.kind
    if kind == "binary":
        expected, codes = np.unpackbits(expected, axis=1), np.unpackbits(codes, axis=1)
    apart = np.abs(expected.astype(np.float64) - codes.astype(np.float64))
    if kind in _TOLERANCE:
        apart /= float(np.abs(expected.astype(np.float64)).max(initial=0.0)) or 1.0
    wrong = apart > _TOLERANCE.get(kind, 0.0)
    # The numbers of centroids have no order, so between them there are no steps.
    steps = float(wrong.any()) if kind == "pq" else float(apart.max(initial=0.0))
    return CodeParity(len(expected), expected.size, int(wrong.sum()), steps)


def _require_equal(codec: Codec, parity: CodeParity, target: Path) -> None:
    if parity.share <= MOST_DIFFERENT and parity.largest_step <= 1:
        return
    raise RunError(
        "The exported codec does not encode as the codec does, so it was not kept.",
        expected=f"at most {MOST_DIFFERENT:g} of the codes another one, and by one step",
        got=parity.summary(),
        where=target,
        remedy="try another opset, or other versions of onnxscript and onnxruntime",
    )


def _meaning(codec: Codec) -> str:
    words = {
        "float32": "float32 numbers",
        "float16": "float16 numbers",
        "int8": "int8 numbers; times `scale` plus `zero` of the codec's quantizer",
        "binary": "bits above the centre, eight in a byte, the first the highest",
        "pq": "for each part of the vector the number of its centroid",
    }
    return words[codec.quantizer.kind]
