"""What a run folder says, read into plain data. Nothing here decides how it looks."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sightline.errors import RunError
from sightline.reports.fold_scores import FoldScores, read_fold_scores

_TERMINAL_CODES = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f]")
LOG_LINES = 80
_LOG_BYTES = 64_000


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One run as its files tell it; every part but ``info`` may be missing.

    ``info`` is run.json, ``rows`` metrics.jsonl, ``evaluations`` the metrics file of each split,
    ``folds`` fold_results.yaml, ``calibration``, ``ensemble``, ``threshold``, ``reliability`` and
    ``search`` the files of these names; ``notes`` say in plain sentences what could not be used.
    """

    folder: Path
    info: Mapping[str, Any]
    rows: list[dict[str, Any]] = field(default_factory=list)
    config_text: str | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    evaluations: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    log_tail: str | None = None
    folds: FoldScores | None = None
    calibration: Mapping[str, Any] | None = None
    ensemble: Mapping[str, Any] | None = None
    threshold: Mapping[str, Any] | None = None
    reliability: Mapping[str, Any] | None = None
    search: Mapping[str, Any] | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def out_of_fold(self) -> bool:
        """Whether the run trained every fold, so that its val predictions are out-of-fold ones."""
        data = self.config.get("data")
        every = isinstance(data, Mapping) and data.get("valid_fold") == "all"
        return every or bool(self.folds and self.folds.oof)

    @property
    def computed(self) -> bool:
        """Whether the model was computed without an epoch: its only row has the epoch 0."""
        epochs = {row.get("epoch") for row in self.rows if row.get("event", "epoch") == "epoch"}
        return epochs == {0}

    def roots(self, image_root: Path | None = None) -> list[Path]:
        """Return the folders to look for pictures in, the given one first."""
        facts = self.info.get("data")
        recorded = facts.get("root") if isinstance(facts, Mapping) else None
        roots = [image_root, Path(recorded) if isinstance(recorded, str) else None, self.folder]
        return [root for root in roots if root is not None]

    def predictions(self, split: str) -> Iterator[dict[str, str]]:
        """Yield the rows of the split's predictions file; none where there is no file."""
        path = self.folder / "predictions" / f"{split}.csv"
        if path.is_file():
            with path.open(encoding="utf-8-sig", newline="") as lines:
                yield from csv.DictReader(lines)


def read_run_record(run_folder: Path) -> RunRecord:
    """Return everything a run folder says; RunError where it is no run folder."""
    notes: list[str] = []
    info = _read_info(run_folder)
    config_text = _text(run_folder / "config.yaml")
    return RunRecord(
        folder=run_folder,
        info=info,
        rows=_read_rows(run_folder / "metrics.jsonl", notes),
        config_text=config_text,
        config=_parse_config(config_text, notes),
        evaluations=_read_evaluations(run_folder / "predictions", notes),
        log_tail=_read_log_tail(run_folder, info),
        folds=_read_folds(run_folder / "fold_results.yaml", notes),
        calibration=_read_object(run_folder / "calibration.json", notes),
        ensemble=_read_object(run_folder / "ensemble.json", notes),
        threshold=_read_object(run_folder / "threshold.json", notes),
        reliability=_read_object(run_folder / "reliability.json", notes),
        search=_read_object(run_folder / "search.json", notes),
        notes=notes,
    )


def _read_info(folder: Path) -> Mapping[str, Any]:
    path = folder / "run.json"
    remedy = "name a run folder, as `sightline list` shows them"
    if not path.is_file():
        raise RunError(
            "This is no run folder.", expected="a file run.json", where=folder, remedy=remedy
        )
    info = _json(path)
    if not isinstance(info, dict):
        raise RunError(
            "run.json cannot be read.", expected="a JSON object", got="something else", where=path
        )
    return info


def _read_rows(path: Path, notes: list[str]) -> list[dict[str, Any]]:
    rows, bad = [], []
    for number, line in enumerate((_text(path) or "").split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            row = None
        if isinstance(row, dict):
            rows.append(row)
        else:
            bad.append(str(number))
    if bad:
        shown = ", ".join(bad[:5]) + (" ..." if len(bad) > 5 else "")
        notes.append(f"metrics.jsonl: line {shown} could not be read and is not shown.")
    return rows


def _parse_config(text: str | None, notes: list[str]) -> Mapping[str, Any]:
    if text is None:
        return {}
    import yaml

    try:
        tree = yaml.safe_load(text)
    except yaml.YAMLError:
        notes.append("config.yaml could not be read as YAML; it is shown as it is.")
        return {}
    return tree if isinstance(tree, dict) else {}


def _read_evaluations(folder: Path, notes: list[str]) -> Mapping[str, Mapping[str, Any]]:
    found: dict[str, Mapping[str, Any]] = {}
    for path in sorted(folder.glob("*.metrics.json")):
        split = path.name.removesuffix(".metrics.json")
        content = _json(path)
        if not isinstance(content, dict):
            notes.append(f"predictions/{path.name} could not be read and is not shown.")
        elif content.get("split", split) != split:
            # A number must never be shown under the name of another split.
            notes.append(
                f"predictions/{path.name} says that it holds the split “{content['split']}”; "
                "it is not shown."
            )
        else:
            found[split] = content
    order = {"test": 0, "val": 1, "train": 3}
    return dict(sorted(found.items(), key=lambda item: (order.get(item[0], 2), item[0])))


def _read_folds(path: Path, notes: list[str]) -> FoldScores | None:
    text = _text(path)
    if text is None:
        return None
    import yaml

    try:
        scores = read_fold_scores(yaml.safe_load(text))
    except yaml.YAMLError:
        scores = None
    if scores is None:
        notes.append(f"{path.name} could not be read and is not shown.")
    return scores


def _read_object(path: Path, notes: list[str]) -> Mapping[str, Any] | None:
    content = _json(path) if path.is_file() else None
    if path.is_file() and not isinstance(content, dict):
        notes.append(f"{path.name} could not be read and is not shown.")
    return content if isinstance(content, dict) else None


def _read_log_tail(folder: Path, info: Mapping[str, Any]) -> str | None:
    """The end of the log that run.json names, or of one that lies in the run folder."""
    named = [Path(info["log"])] if isinstance(info.get("log"), str) else []
    logs = [path for path in (*named, *folder.glob("*.log")) if path.is_file()]
    if not logs:
        return None
    with max(logs, key=lambda path: path.stat().st_mtime).open("rb") as log:
        log.seek(0, 2)
        log.seek(max(0, log.tell() - _LOG_BYTES))
        text = log.read().decode("utf-8", errors="replace")
    # A progress bar redraws its line after a carriage return: the last drawing was meant to stay.
    lines = [line.rstrip("\r").rsplit("\r", 1)[-1] for line in text.split("\n")]
    return _TERMINAL_CODES.sub("", "\n".join(lines[-LOG_LINES - 1 :])).strip("\n") or None


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError):
        return None


def _text(path: Path) -> str | None:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else None
