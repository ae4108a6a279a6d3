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
from sightline.models.quantizers import Binary
from sightline.runs.files import write_atomically
from sightline.runs.plain import to_json

_TOLERANCE = {"float32": 1e-4, "float16": 2e-3}
"""Of the largest number; one step of float16 is a thousandth."""
_ROUNDING = 1e-4
"""Share of the largest number before quantisation by which two sums of it may differ."""


@dataclass(frozen=True, slots=True)
class CodeParity:
    """How the codes of the file differ from the codec's; of bits, single ones are counted."""

    vectors: int
    codes: int
    different: int
    """Codes that are another, and float ones beyond the tolerance."""
    between: int
    """Further ones where the number lies so near the middle of two codes that both are right."""

    def summary(self) -> str:
        """One sentence."""
        both = f", {self.between} lie between two" if self.between else ""
        return (
            f"codes: {self.different} of {self.codes} differ from the codec's "
            f"({self.vectors} vectors{both})"
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
    all together. Raises RunError, and writes nothing, where codes differ by more than
    rounding; MissingExtraError without the packages of the extra.
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
    _require_equal(parity, target)
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
        found.append(_parity(codec, rows, expected[: len(rows)], codes))
    return max(found, key=lambda one: (one.different, one.between))


def _parity(
    codec: Codec,
    vectors: npt.NDArray[np.float32],
    expected: npt.NDArray[Any],
    codes: npt.NDArray[Any],
) -> CodeParity:
    if (expected.shape, expected.dtype) != (codes.shape, codes.dtype):
        raise RunError(
            "The codes of the exported codec have another shape or type.",
            expected=f"{expected.shape} {expected.dtype}",
            got=f"{codes.shape} {codes.dtype}",
        )
    kind = codec.quantizer.kind
    if kind in _TOLERANCE:
        largest = float(np.abs(expected.astype(np.float64)).max(initial=0.0)) or 1.0
        apart = np.abs(expected.astype(np.float64) - codes.astype(np.float64)) / largest
        wrong, between = apart > _TOLERANCE[kind], np.zeros(apart.shape, np.bool_)
    else:
        another, is_between = _compared(codec, vectors, expected, codes)
        wrong, between = another & ~is_between, another & is_between
    return CodeParity(len(expected), wrong.size, int(wrong.sum()), int(between.sum()))


def _compared(
    codec: Codec,
    vectors: npt.NDArray[np.float32],
    expected: npt.NDArray[Any],
    codes: npt.NDArray[Any],
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Which codes, or bits, are another, and which of all lie between two."""
    quantizer, given = codec.quantizer, codec.project(torch.from_numpy(vectors))
    slack = _ROUNDING * float(given.abs().max())
    if isinstance(quantizer, Binary):
        bits = (np.unpackbits(one, axis=1)[:, : quantizer.size] for one in (expected, codes))
        near = (given - quantizer.centre).abs() <= slack
        return next(bits) != next(bits), near.numpy()
    # How far the numbers are from what either code stands for, part by part.
    parts = expected.shape[1]
    far, right = (
        (quantizer.decode(torch.from_numpy(one)) - given).unflatten(1, (parts, -1)).norm(dim=2)
        for one in (codes, expected)
    )
    width = quantizer.size // parts
    return expected != codes, (far <= right + 2 * slack * width**0.5).numpy()


def _require_equal(parity: CodeParity, target: Path) -> None:
    if not parity.different:
        return
    raise RunError(
        "The exported codec does not encode as the codec does, so it was not kept.",
        expected="the same codes, but for numbers that lie between two",
        got=parity.summary(),
        where=target,
        remedy="the codec itself is kept and encodes as it should; for a file, try other versions "
        "of onnxscript and onnxruntime",
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
