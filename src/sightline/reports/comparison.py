"""Several runs of one task side by side: what each is, what it scored, and what it cost."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sightline.errors import UsageError
from sightline.reports.cells import finite_or_none
from sightline.reports.comparison_scores import baseline_of, pool_of
from sightline.reports.comparison_settings import (
    differing_settings,
    loss_function,
    read_settings,
)
from sightline.runs import displayed_status
from sightline.runs.listing import Info, best_of, run_seconds

SPLITS = ("val", "test")
"""Splits that can be compared; without a choice the first that any of the runs was judged on."""
_TAIL = 8192
_NAMED = 5


@dataclass(frozen=True, slots=True)
class ComparedRun:
    """One run of a comparison; ``label`` is its name, or longer where two have one name."""

    label: str
    folder: Path
    info: Info
    settings: Mapping[str, Any]
    evaluation: Mapping[str, Any]
    """The metrics file of the split; empty where the run was not judged on it."""

    @property
    def scores(self) -> dict[str, Mapping[str, Any]]:
        """The headline: of each metric value, low, high and n."""
        headline = self.evaluation.get("headline")
        pairs = headline.items() if isinstance(headline, Mapping) else ()
        return {str(name): one for name, one in pairs if isinstance(one, Mapping)}

    @property
    def epochs(self) -> int | None:
        """How many epochs are done: as recorded at the end, else that of the last row."""
        recorded = self.info.get("epochs")
        return recorded if isinstance(recorded, int) else _last_epoch(self.folder)

    def baseline(self, name: str) -> tuple[str, float] | None:
        """The method that a score is to beat at the same size, such as pca, and what it scores."""
        return baseline_of(self.evaluation, name)

    @property
    def pool(self) -> int | None:
        """How many things each query was compared with, for a task that searches."""
        return pool_of(self.evaluation)

    def facts(self) -> dict[str, Any]:
        """The row of the table of runs, as plain data."""
        best = best_of(self.info)
        return {
            "run": self.info.get("id") or self.folder.name,
            "label": self.label,
            "uuid": self.info.get("uuid"),
            "task": self.info.get("task"),
            "status": displayed_status(self.info),
            "loss_function": loss_function(self.settings),
            "epochs": self.epochs,
            "best_metric": best[0] if best else None,
            "best": best[1] if best else None,
            "seconds": run_seconds(self.info),
            "scores": {name: dict(one) for name, one in self.scores.items()},
            "baselines": {n: found for n in self.scores if (found := self.baseline(n))},
            "pool": self.pool,
        }


@dataclass(frozen=True, slots=True)
class Comparison:
    """Runs in the order they were named; ``notes`` say what could not be compared, and why."""

    task: str | None
    split: str
    runs: list[ComparedRun]
    settings: dict[str, list[Any]]
    """Each setting that differs, with its value in each run."""
    notes: list[str] = field(default_factory=list)

    def metrics(self, *, recall: bool = True) -> list[str]:
        """Return the names of all headline scores with a value; recall only where asked for."""
        names = {
            name: None
            for run in self.runs
            for name, one in run.scores.items()
            if finite_or_none(one.get("value")) is not None
        }
        return [name for name in names if recall or "recall_at" not in name]


def read_comparison(infos: Sequence[Info], *, split: str | None = None) -> Comparison:
    """Return the runs of one task side by side; each info is run.json with "path".

    Runs that cannot be read are left out with a note. UsageError for runs of different tasks, or
    fewer than two runs.
    """
    notes = [
        f"{one['id']} is left out: {one.get('error') or 'run.json is damaged'}."
        for one in infos
        if one.get("status") == "damaged"
    ]
    usable = [one for one in infos if one.get("status") != "damaged"]
    _require_comparable(usable)
    chosen = split or _first_split(usable)
    labels = _labels(usable)
    settings = [_settings(Path(one["path"]), notes) for one in usable]
    runs = [
        ComparedRun(label, Path(one["path"]), one, own, _evaluation(one, chosen, notes))
        for label, one, own in zip(labels, usable, settings, strict=True)
    ]
    notes += _remarks(runs, chosen)
    task = usable[0].get("task")
    return Comparison(task, chosen, runs, differing_settings(settings), notes)


def _require_comparable(infos: Sequence[Info]) -> None:
    if len(infos) < 2:
        raise UsageError(
            "There are not two runs to compare.",
            expected="at least two runs that can be read",
            got=infos[0]["id"] if infos else "none",
            remedy="name two runs, a pattern such as 'dpe-*', or --task TASK --most N",
        )
    tasks = Counter(str(one.get("task")) for one in infos)
    if len(tasks) > 1:
        examples = {str(one.get("task")): one["id"] for one in reversed(infos)}
        said = [f"{task} ({n}, such as {examples[task]})" for task, n in tasks.items()]
        raise UsageError(
            "Runs of different tasks cannot be compared.",
            expected="runs of one task: their scores mean the same thing",
            got=", ".join(said),
            remedy="name runs of one task, or add --task TASK",
        )


def _first_split(infos: Sequence[Info]) -> str:
    for split in SPLITS:
        name = f"predictions/{split}.metrics.json"
        if any(Path(one["path"], name).is_file() for one in infos):
            return split
    return SPLITS[0]


def _labels(infos: Sequence[Info]) -> list[str]:
    names = [str(one.get("name") or one["id"]) for one in infos]
    often = Counter(names)
    return [
        name if often[name] == 1 else f"{name}-{str(one['id']).rsplit('-', 1)[-1]}"
        for name, one in zip(names, infos, strict=True)
    ]


def _settings(folder: Path, notes: list[str]) -> dict[str, Any]:
    try:
        return read_settings((folder / "config.yaml").read_text(encoding="utf-8"))
    except FileNotFoundError:
        notes.append(f"{folder.name} has no config.yaml, so its settings are not compared.")
    except (OSError, ValueError):
        notes.append(f"config.yaml of {folder.name} cannot be read; its settings are unknown.")
    return {}


def _evaluation(info: Info, split: str, notes: list[str]) -> Mapping[str, Any]:
    path = Path(info["path"]) / "predictions" / f"{split}.metrics.json"
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError):
        content = None
    if isinstance(content, dict) and content.get("split", split) == split:
        return content
    notes.append(
        f"predictions/{path.name} of {info['id']} cannot be read as scores of {split}; "
        "they are not shown."
    )
    return {}


def _remarks(runs: Sequence[ComparedRun], split: str) -> list[str]:
    notes = []
    if missing := [str(run.info["id"]) for run in runs if not run.evaluation]:
        more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
        notes.append(
            f"No evaluation of {split}: {', '.join(missing[:_NAMED])}{more}. It is made by "
            f"sightline evaluate {missing[0]} --split {split}"
        )
    if len(pools := sorted({run.pool for run in runs if run.pool is not None})) > 1:
        sizes = ", ".join(f"{pool:,}" for pool in pools)
        notes.append(
            f"The runs were searched in pools of different sizes ({sizes}); recall falls as the "
            "pool grows, so these scores cannot be compared."
        )
    return notes


def _last_epoch(folder: Path) -> int | None:
    try:
        with (folder / "metrics.jsonl").open("rb") as lines:
            lines.seek(max(0, lines.seek(0, 2) - _TAIL))
            tail = lines.read().split(b"\n")
    except OSError:
        return None
    for line in reversed(tail):
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and row.get("event") == "epoch":
            epoch = row.get("epoch")
            return epoch if isinstance(epoch, int) else None
    return None
