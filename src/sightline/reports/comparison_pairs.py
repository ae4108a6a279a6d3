"""Two runs on the same samples: which answers changed, and whether chance explains it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from sightline.reports.anomaly_rows import NORMAL
from sightline.reports.comparison import ComparedRun, Comparison
from sightline.reports.comparison_answers import Answers, read_answers

if TYPE_CHECKING:
    from sightline.metrics.intervals import Estimate

MOST_RUNS = 10
"""Of more runs no pairs are tested: among many tests some succeed by chance."""
KEPT = 50
"""How many ids of changed samples are named at most."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A second run against a first one; with a ``reason`` they cannot be paired."""

    first: str
    second: str
    reason: str | None = None
    n: int = 0
    kind: str = "right"
    """right: samples that were right and are wrong, or back; the name of a score that fell or rose;
    empty where no single sample can be called better or worse."""
    lost: list[str] = field(default_factory=list)
    won: list[str] = field(default_factory=list)
    p: float = 1.0
    differences: dict[str, Estimate] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return plain data that JSON can hold, with the first KEPT ids of each kind."""
        plain: dict[str, Any] = {"first": self.first, "second": self.second}
        if self.reason is not None:
            return plain | {"reason": self.reason}
        return plain | {
            "n": self.n,
            "kind": self.kind,
            "lost": len(self.lost),
            "won": len(self.won),
            "p": self.p,
            "lost_ids": self.lost[:KEPT],
            "won_ids": self.won[:KEPT],
            "differences": {name: one.as_dict() for name, one in self.differences.items()},
        }


def compare_pairs(comparison: Comparison, *, recall: bool = True) -> list[Pair]:
    """Return the first run against every other; none for more than MOST_RUNS runs."""
    if len(comparison.runs) > MOST_RUNS:
        return []
    task = str(comparison.task)
    read = [read_answers(run.folder, comparison.split, task) for run in comparison.runs]
    first, *others = zip(comparison.runs, read, strict=True)
    pairs = [_pair(first, other, comparison) for other in others]
    if recall:
        return pairs
    left = [_without_recall(pair) for pair in pairs]
    return [pair for pair in left if pair.reason or pair.kind or pair.differences]


def _without_recall(pair: Pair) -> Pair:
    kept = {name: one for name, one in pair.differences.items() if "recall_at" not in name}
    if "recall_at" in pair.kind:
        pair = replace(pair, kind="", lost=[], won=[])
    return replace(pair, differences=kept)


def _pair(
    first: tuple[ComparedRun, Answers | str],
    second: tuple[ComparedRun, Answers | str],
    comparison: Comparison,
) -> Pair:
    (run, before), (other, after) = first, second
    labels = (run.label, other.label)
    if isinstance(before, str):
        return Pair(*labels, reason=before)
    if isinstance(after, str):
        return Pair(*labels, reason=after)
    reason = _reason_apart(before, after)
    if run.pool != other.pool:
        reason = f"the one was searched in a pool of {run.pool}, the other in one of {other.pool}"
    if reason is not None:
        return Pair(*labels, reason=reason)
    place = {name: row for row, name in enumerate(after.ids)}
    after = after.reordered([place[name] for name in before.ids])
    if before.truth != after.truth:
        n = sum(one != two for one, two in zip(before.truth, after.truth, strict=True))
        return Pair(*labels, reason=f"{n} samples have another truth in the second run")
    return _tested(labels, before, after, task=str(comparison.task))


def _reason_apart(before: Answers, after: Answers) -> str | None:
    one, two = set(before.ids), set(after.ids)
    if len(one) < len(before.ids) or len(two) < len(after.ids):
        return "an id stands in a table of predictions more than once"
    if not one:
        return "there is no sample"
    if not set(before.scores) & set(after.scores):
        return "their tables of predictions have no score in common"
    if one == two:
        return None
    return (
        f"they were judged on different samples: {len(one & two)} in both, "
        f"{len(one - two)} only in the first, {len(two - one)} only in the second"
    )


def _tested(labels: tuple[str, str], before: Answers, after: Answers, *, task: str) -> Pair:
    from sightline.metrics.paired import mcnemar_exact

    kind, changes = "", []
    if before.right and after.right:
        kind, changes = "right", _changes(before.ids, before.right, after.right)
    elif task != "anomaly":  # there a score is no merit: higher is only more suspicious
        kind = next(name for name in before.scores if name in after.scores)
        changes = _changes(before.ids, before.scores[kind], after.scores[kind])
    lost = [name for change, name in changes if change < 0]
    won = [name for change, name in sorted(changes, key=lambda one: -one[0]) if change > 0]
    differences = _differences(before, after, anomaly=task == "anomaly")
    p = mcnemar_exact(len(lost), len(won))
    return Pair(*labels, None, len(before.ids), kind, lost, won, p, differences)


def _changes(
    ids: Sequence[str], old: Sequence[float], new: Sequence[float]
) -> list[tuple[float, str]]:
    """How much each sample changed, the largest loss first; equal ones in the order of ids."""
    found = zip(ids, old, new, strict=True)
    # Rounded, so that 0.8 - 0.6 and 0.4 - 0.2 are one change.
    changes = [(round(b - a, 9), name) for name, a, b in found if b - a == b - a]
    return sorted(changes, key=lambda change: change[0])


def _differences(before: Answers, after: Answers, *, anomaly: bool) -> dict[str, Estimate]:
    from sightline.metrics.paired import auroc_difference, paired_difference

    if anomaly:
        rows = zip(before.scores["score"], after.scores["score"], before.truth, strict=True)
        # A picture that a model gave no score has no place in a ranking.
        known = [(a, b, truth != NORMAL) for a, b, truth in rows if a + b == a + b]
        one, two, flags = zip(*known, strict=True) if known else ((), (), ())
        return {"image_auroc": auroc_difference(one, two, flags)}
    groups = before.groups or None
    return {
        name: replace(
            paired_difference(values, after.scores[name], groups=groups), unit=before.unit
        )
        for name, values in before.scores.items()
        if name in after.scores
    }
