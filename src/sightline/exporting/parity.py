"""Whether an ONNX file answers as the model it was made from, on samples of the run's own data.

N samples, pictures or vectors; an output is an array whose first axis is the samples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from sightline.errors import RunError
from sightline.exporting.runtime import answers_of

Arrays = Mapping[str, npt.NDArray[Any]]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Difference:
    """How far an output is from the model's, at most."""

    output: str
    absolute: float
    """NaN where a number is missing or infinite in one of the two."""
    relative: float
    """The same as a share of the output's largest value."""
    where: str
    """The sample with the largest difference, and how many were answered for together."""


@dataclass(frozen=True)
class Decision:
    """How often what is decided by an output is the same."""

    kind: str
    same: int
    samples: int
    different: tuple[str, ...]
    """Samples whose decision differs by more than rounding explains."""


@dataclass(frozen=True)
class Parity:
    """What a comparison found."""

    samples: int
    split: str
    batches: tuple[int, ...]
    tolerance: float
    differences: tuple[Difference, ...]
    decision: Decision
    unit: str = "pictures"
    """What a sample is."""

    def as_dict(self) -> dict[str, Any]:
        """Return plain data that JSON can hold."""
        return asdict(self)

    def summary(self) -> list[str]:
        """One line for each output, and one for the decisions."""
        sizes = ", ".join(map(str, self.batches))
        lines = [
            f"{one.output}: differs by {one.absolute:.1e} at most, {one.relative:.1e} of its "
            f"largest value ({self.samples} {self.unit} of {self.split}, batches of {sizes})"
            for one in self.differences
        ]
        decided = self.decision
        return [*lines, f"{decided.kind}: {decided.same} of {decided.samples} the same"]

    def require_equal(self, *, where: object) -> None:
        """Raise RunError, with the figures, unless values and decisions are those of the model."""
        wrong = [one for one in self.differences if not one.relative <= self.tolerance]
        if wrong:
            worst = wrong[0]
            raise RunError(
                "The exported model does not answer as the trained one, so it was not kept.",
                expected=f"differences of at most {self.tolerance:g} of an output's largest value",
                got=f"{worst.output} differs by {worst.absolute:.3g}, "
                f"{worst.relative:.3g} of its largest value, for {worst.where}",
                where=where,
                remedy="try another --opset, or other versions of onnxscript and onnxruntime; "
                "if so much does not matter, say how much with --tolerance",
            )
        if self.decision.different:
            named = self.decision.different
            raise RunError(
                "The exported model does not decide as the trained one, so it was not kept.",
                expected=f"the same {self.decision.kind} for every picture",
                got=f"another one for {len(named)} of {self.decision.samples}: "
                + ", ".join(named[:5]),
                where=where,
                remedy="try another --opset, or other versions of onnxscript and onnxruntime",
            )


def compare(
    session: Any,
    inputs: npt.NDArray[Any],
    expected: Arrays,
    *,
    ids: Sequence[str],
    split: str,
    tolerance: float,
) -> Parity:
    """What the session answers for images (N, 3, H, W) or vectors (N, D), against the model.

    Alone, three together, and all together; the largest differences of all of these are kept.
    """
    batches = tuple(sorted({1, min(3, len(ids)), len(ids)}))
    found = {size: answers_of(session, inputs, size) for size in batches}
    # What is no number is reported as a difference, and needs no warning before.
    with np.errstate(invalid="ignore"):
        differences = tuple(
            max(
                (_difference(name, found[size][name], values, ids, size) for size in batches),
                # NaN is the worst of all.
                key=lambda one: np.inf if np.isnan(one.absolute) else one.absolute,
            )
            for name, values in expected.items()
        )
        decision = _decision(expected, found[batches[-1]], ids, tolerance)
    unit = "vectors" if inputs.ndim == 2 else "pictures"
    return Parity(len(ids), split, batches, tolerance, differences, decision, unit)


def _difference(
    output: str,
    found: npt.NDArray[Any],
    expected: npt.NDArray[Any],
    ids: Sequence[str],
    batch: int,
) -> Difference:
    if found.shape != expected.shape:
        raise RunError(
            f"The output {output} of the exported model has another shape than the model's.",
            expected=expected.shape,
            got=found.shape,
            where=f"batches of {batch}",
        )
    apart = np.abs(found.astype(np.float64) - expected.astype(np.float64))
    apart = apart.reshape(len(ids), -1).max(axis=1, initial=0.0)
    # Not max(): where NaN is among the numbers it is what has to be reported.
    row = int(np.argmax(np.where(np.isfinite(apart), apart, np.inf)))
    absolute = float(apart[row]) if np.isfinite(apart[row]) else float("nan")
    largest = float(np.abs(expected).max(initial=0.0)) or 1.0
    return Difference(output, absolute, absolute / largest, f"{ids[row]} in batches of {batch}")


def _decision(expected: Arrays, found: Arrays, ids: Sequence[str], tolerance: float) -> Decision:
    """Compare what an output is used for; two that the tolerance cannot tell apart may swap."""
    kind, name, read = _decided_by(expected)
    wanted, given = read(expected[name]), read(found[name])
    slack = 2 * tolerance * float(np.abs(wanted).max(initial=0.0))
    lost = _lost_by_first(wanted, given) if kind == "class" else _lost_by_order(wanted, given)
    words = {
        "class": "most probable class",
        "neighbours": "order of the others by distance",
        "scores": "order by score",
    }
    # An order of all samples is one decision, which each of them takes part in.
    named = [ids[row] if len(lost) == len(ids) else "all samples" for row in range(len(lost))]
    different = tuple(one for one, gap in zip(named, lost, strict=True) if not gap <= slack)
    return Decision(words[kind], int((lost == 0).sum()), len(lost), different)


_Kind = Literal["class", "neighbours", "scores"]


def _decided_by(expected: Arrays) -> tuple[_Kind, str, Any]:
    """What is decided, by which output, and the values (rows, choices) that higher wins among."""
    if "logits" in expected:
        name = "probabilities" if "probabilities" in expected else "logits"
        return "class", name, lambda values: values.astype(np.float64)
    if "embeddings" in expected:
        return "neighbours", "embeddings", _nearness
    return "scores", "score", lambda values: values.astype(np.float64)[None]


def _nearness(embeddings: npt.NDArray[Any]) -> Floats:
    """Negative squared distances (N, N-1) of each embedding to the others."""
    vectors = embeddings.astype(np.float64)
    squares = (vectors**2).sum(axis=1)
    near: Floats = 2 * vectors @ vectors.T - squares[:, None] - squares[None]
    others = ~np.eye(len(vectors), dtype=bool)
    return near[others].reshape(len(vectors), len(vectors) - 1)


def _lost_by_first(wanted: Floats, given: Floats) -> Floats:
    """How much worse, by the model's values, the choice of the other is in each row; 0: the same.

    >>> _lost_by_first(np.array([[0.0, 1.0], [0.25, 0.75]]), np.array([[0.2, 0.8], [0.6, 0.4]]))
    array([0. , 0.5])
    """
    chosen = given.argmax(axis=1)
    lost: Floats = wanted.max(axis=1) - wanted[np.arange(len(wanted)), chosen]
    return np.where(np.isfinite(given).all(axis=1), lost, np.nan)


def _lost_by_order(wanted: Floats, given: Floats) -> Floats:
    """The largest of the model's gaps that the order of the other runs against; 0: the same order.

    >>> _lost_by_order(np.array([[3.0, 2.0, 1.0]]), np.array([[0.5, 0.7, 0.1]]))
    array([1.])
    """
    if not wanted.shape[1]:
        return np.zeros(len(wanted))
    order = np.argsort(-given, axis=1, kind="stable")
    placed = np.take_along_axis(wanted, order, axis=1)
    still_to_come = np.maximum.accumulate(placed[:, ::-1], axis=1)[:, ::-1]
    lost: Floats = (still_to_come - placed).max(axis=1)
    return np.where(np.isfinite(given).all(axis=1), lost, np.nan)
