"""Several trained runs that are to become one: what they must have in common, and its folder."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from sightline.config.image_size import size_of
from sightline.data.manifest import Manifest, shortened
from sightline.data.splits_file import read_splits
from sightline.data.table import read_table
from sightline.errors import RunError
from sightline.experiment import SPLITS_FILE
from sightline.experiment.recording import versions
from sightline.runs import RunFolder, displayed_status, write_atomically
from sightline.tasks.config import TaskConfig, of_pictures
from sightline.trained import best_checkpoints, require_answers, run_config
from sightline.trained.members import ENSEMBLE_FILE


@dataclass(frozen=True)
class Source:
    """A trained run with its samples; `hashes` are those of its files, empty where unknown."""

    run: RunFolder
    config: TaskConfig
    checkpoints: tuple[str, ...]
    splits: Manifest
    hashes: tuple[str, ...]

    @property
    def class_names(self) -> list[str]:
        """In the order of the model's outputs."""
        return [str(one) for one in self.splits.label.names]

    def ids(self, *splits: str) -> set[str]:
        """The samples of some splits."""
        return {str(self.splits.id[row]) for row in self.splits.rows(*splits)}

    def contents(self, *splits: str) -> dict[str, str]:
        """Id -> hash of the samples of some splits whose hash is known."""
        rows = self.splits.rows(*splits)
        return {str(self.splits.id[row]): self.hashes[row] for row in rows if self.hashes[row]}


def open_sources(runs: Sequence[RunFolder]) -> list[Source]:
    """The runs with their samples.

    Raises RunError for a run that is named twice, is an ensemble, or is in training, and
    CheckpointError that names the best checkpoints a run has not.
    """
    seen: dict[Path, str] = {}
    for run in runs:
        if run.path in seen:
            raise RunError(
                f"The run {run.id} is named twice.",
                expected="different runs",
                where=run.path,
                remedy="leave one out; to count it more, use --weights validation",
            )
        seen[run.path] = run.id
    return [_source(run) for run in runs]


def require_same_classes(sources: Sequence[Source]) -> None:
    """Raise RunError for runs of another task or with other classes than the first."""
    first = sources[0]
    for other in sources[1:]:
        if other.config.task != first.config.task:
            raise RunError(
                "The runs have different tasks.",
                expected=f"{first.config.task}, as {first.run.id}",
                got=other.config.task,
                where=other.run.path,
            )
        if other.class_names != first.class_names:
            raise RunError(
                "The runs do not know the same classes in the same order.",
                expected=f"{shortened(first.class_names, 10)}, as {first.run.id}",
                got=shortened(other.class_names, 10),
                where=other.run.path,
                remedy="combine runs that were trained on the same table or folder",
            )


def require_sealed_test(sources: Sequence[Source]) -> None:
    """Raise RunError where a run learnt from another's test, or where the tests differ."""
    for one in sources:
        for other in sources:
            if one is not other:
                _refuse_leak(one, other)
    first = sources[0]
    for other in sources[1:]:
        apart = first.ids("test") ^ other.ids("test")
        if apart:
            raise RunError(
                f"The runs have different test samples: {len(apart)} are in one test only.",
                expected=f"those of {first.run.id}",
                got=shortened(sorted(apart)),
                where=other.run.path / SPLITS_FILE,
                remedy=_SAME_SPLITS,
            )


def require_one_validation(sources: Sequence[Source]) -> None:
    """Raise RunError unless one model could be made of the runs, and one split judge it."""
    first = sources[0]
    for one in sources:
        if one.config.data.trains_every_fold:
            raise RunError(
                f"The folds of {one.run.id} have no validation samples in common, so nothing "
                "could judge their mean.",
                expected="runs with one validation split",
                where=one.run.path,
                remedy="average their answers instead, as `sightline predict` does",
            )
        pairs = (
            ("models", first.config.model.name, one.config.model.name),
            (
                "image sizes",
                *(size_of(of_pictures(each.config).train.img_size) for each in (first, one)),
            ),
        )
        for what, ours, theirs in pairs:
            if ours != theirs:
                raise RunError(
                    f"The runs have different {what}.",
                    expected=f"{ours}, as {first.run.id}",
                    got=theirs,
                    where=one.run.path,
                    remedy="average their answers instead: sightline ensemble RUN RUN",
                )
        if apart := one.ids("val") ^ first.ids("val"):
            raise RunError(
                f"The runs have different validation samples: {len(apart)} are in one val only.",
                expected=f"those of {first.run.id}",
                got=shortened(sorted(apart)),
                where=one.run.path / SPLITS_FILE,
                remedy=_SAME_SPLITS,
            )


def create_joined(
    first: Source,
    *,
    exp_dir: Path,
    name: str,
    kind: str,
    command: Sequence[str],
    parent: str | None = None,
) -> RunFolder:
    """A new run folder with the first run's configuration, samples and facts of its data."""
    run = RunFolder.create(
        exp_dir,
        name=name,
        task=first.config.task,
        command=command,
        config_text=first.run.config_file.read_text(encoding="utf-8"),
        seeds=first.run.info.get("seeds", {}),
        versions=versions(),
        parent=parent,
    )
    source = first.run.path / SPLITS_FILE
    write_atomically(run.path / SPLITS_FILE, _moved(source, run.path))
    run.update(kind=kind, data=first.run.info["data"])
    return run


def path_from(folder: Path, target: Path) -> str:
    """The target relative to the folder, with forward slashes; in full on another drive.

    >>> path_from(Path("/runs/1/ensemble"), Path("/runs/2/member"))
    '../../2/member'
    """
    try:
        return PurePath(os.path.relpath(target, folder)).as_posix()
    except ValueError:  # Windows
        return target.as_posix()


_SAME_SPLITS = "train them with the same splits: data.manifest=FILE, or the same data and seed"


def _source(run: RunFolder) -> Source:
    require_answers(run, "probabilities", "an average of runs")
    if (run.path / ENSEMBLE_FILE).is_file():
        raise RunError(
            f"{run.id} is an ensemble itself.",
            expected="trained runs",
            where=run.path,
            remedy="name its members instead",
        )
    if displayed_status(run.info) == "running":
        raise RunError(
            f"The run {run.id} is still in training, so its best checkpoint may change.",
            where=run.path,
            remedy="wait for its end",
        )
    checkpoints = best_checkpoints(run)
    file = run.path / SPLITS_FILE
    table = read_table(file, {"id": "id"}, optional={"sha": "sha"})
    known: Any = table.columns.get("sha", [""] * len(table.lines))
    hashes = tuple(str(one) for one in known)
    return Source(run, run_config(run), tuple(checkpoints), read_splits(file, verify=False), hashes)


def _refuse_leak(one: Source, other: Source) -> None:
    """Raise RunError where a run learnt from another's test, under whatever name."""
    test = other.contents("test")
    used = {content: name for name, content in one.contents("fit").items()}
    leaked = one.ids("fit") & other.ids("test")
    leaked |= {used[content] for content in test.values() if content in used}
    if leaked:
        raise RunError(
            f"{one.run.id} learnt from {len(leaked)} test samples of {other.run.id}.",
            expected="test samples that no member has seen",
            got=shortened(sorted(leaked)),
            where=one.run.path / SPLITS_FILE,
            remedy=_SAME_SPLITS,
        )


def _moved(table: Path, folder: Path) -> str:
    """The text of a run's splits.csv for another folder: its paths lead to the same files."""
    with table.open(newline="", encoding="utf-8") as handle:
        header, *rows = csv.reader(handle)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    places = [header.index(name) for name in ("path", "mask")]
    for row in rows:
        for place in places:
            if row[place]:
                row[place] = path_from(folder, Path(os.path.normpath(table.parent / row[place])))
        writer.writerow(row)
    return text.getvalue()
