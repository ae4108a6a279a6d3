"""`sightline check` and `sightline split`: what is wrong with some data, and fixing its splits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from sightline.config import load_config
from sightline.console import table_lines
from sightline.data.dataset import Dataset, prepare_dataset
from sightline.data.defect_categories import holds_defects
from sightline.data.defect_checks import defect_findings
from sightline.data.defect_reader import unused_masks
from sightline.data.defect_settings import AnomalyDataConfig
from sightline.data.exclusions import find_excluded, write_excluded
from sightline.data.findings import CheckReport, Finding, sort_findings
from sightline.data.identity_checks import as_one_gallery, identity_findings
from sightline.data.lint import check, class_counts
from sightline.data.manifest import SPLITS, Manifest
from sightline.data.objects import name_objects
from sightline.data.readers import read_manifest
from sightline.data.reid_layouts import holds_identities
from sightline.data.reid_reader import read_identities
from sightline.data.reid_splits import assign_identity_splits
from sightline.data.retrieval_settings import RetrievalDataConfig
from sightline.data.settings import DataConfig
from sightline.data.splits_file import write_splits
from sightline.data.splits_folder import class_table, totals, write_splits_folder
from sightline.errors import DataError, UsageError
from sightline.tasks.config import PictureTaskConfig, TaskConfig, of_pictures
from sightline.tasks.reid_config import ReidConfig
from sightline.trained import TASK_CONFIGS

RECIPE, DEFECT_RECIPE, REID_RECIPE = "classify/basic", "anomaly/patchcore", "reid/baseline"
"""Give the settings of a folder or table that comes without a configuration."""
MOST_CLASSES = 30
"""Classes shown with their counts; the smallest are the ones worth seeing."""
COLOURS = {"error": "red", "warning": "yellow", "info": "cyan"}


def check_source(
    source: str, overrides: Sequence[str], *, near_duplicates: bool = True
) -> CheckReport:
    """What is wrong or remarkable about a folder, a CSV, or the data of a configuration."""
    task = _configured(source, overrides)
    if isinstance(task, ReidConfig):
        return _check_identities(task, near_duplicates=near_duplicates)
    config = task.data
    manifest = read_manifest(config, require_files=False)
    defects = None
    if isinstance(config, AnomalyDataConfig):
        defects = defect_findings(manifest, unused_masks=unused_masks(config))
    is_open = False
    if isinstance(config, RetrievalDataConfig):
        manifest, _ = name_objects(manifest, config)
        is_open = config.split_by == "class"
    report = check(
        manifest,
        workers=config.workers,
        near_duplicates=near_duplicates,
        min_image_size=config.min_image_size,
        open_set=is_open,
        of_labels=defects,
    )
    if isinstance(config, RetrievalDataConfig) and config.manifest is None:
        more = tuple(_left_nothing(manifest, config))
        report = replace(report, findings=sort_findings([*report.findings, *more]))
    return report


def _check_identities(task: ReidConfig, *, near_duplicates: bool) -> CheckReport:
    """The same for re-identification: who asks for whom stands in place of the classes."""
    config, same_camera = task.data, task.eval.same_camera
    manifest, remarks = read_identities(config, require_files=False)
    shares = {"test_fraction": config.test_fraction, "val_fraction": config.val_fraction}
    refused: tuple[Finding, ...] = ()
    try:
        divided, _ = assign_identity_splits(manifest, seed=task.project.seed, **shares)
    except DataError as error:
        # A single picture of everyone, its usual reason, is explained better by the protocol.
        divided = manifest.with_split(
            np.where(manifest.split, manifest.split, SPLITS.index("test"))
        )
        what = f"pictures cannot be divided: {error.what}"
        refused = (Finding("error", "no_splits", len(manifest), what, (), str(error.remedy)),)
    report = check(
        as_one_gallery(manifest, same_camera=same_camera),
        workers=config.workers,
        near_duplicates=near_duplicates,
        min_image_size=config.min_image_size,
        of_labels=(
            *refused,
            *identity_findings(manifest, remarks, divided, same_camera=same_camera),
        ),
    )
    return replace(report, classes=class_counts(manifest))


def _left_nothing(manifest: Manifest, config: RetrievalDataConfig) -> Iterator[Finding]:
    """An error where leaving out objects with small pictures leaves no two classes."""
    try:
        find_excluded(manifest, config)
    except DataError as error:
        # Unreadable files, its other reason, are findings already.
        if "min_image_size" in str(error.remedy):
            what, count = f"pictures: {error.what}", len(manifest)
            yield Finding("error", "nothing_left", count, what, (), str(error.remedy))


def split_source(source: str, overrides: Sequence[str], target: Path) -> str:
    """Write the splits of some data to a file; a text with the sizes and the remarks.

    Those of retrieval go to a folder where `target` is one, or has no `.csv` in its name.
    """
    config = _configured(source, overrides)
    return split_data(config.data, target, seed=config.project.seed)


def split_data(config: DataConfig, target: Path, *, seed: int) -> str:
    """The same for a data section."""
    dataset = prepare_dataset(config, seed=seed)
    lines = [f"note: {note}" for note in dataset.notes]
    if not isinstance(config, RetrievalDataConfig):
        write_splits(dataset.manifest, target, hashes=dataset.hashes)
    elif target.is_dir() or target.suffix.lower() != ".csv":
        write_splits_folder(dataset, target, config=config, seed=seed)
        lines += _object_lines(dataset)
    else:
        write_splits(dataset.manifest, target, hashes=dataset.hashes)
        lines += [*_excluded_lines(dataset, target), *_object_lines(dataset)]
    splits = (dataset.manifest.split_text(row) for row in range(len(dataset.manifest)))
    counts = ", ".join(f"{name} {count}" for name, count in sorted(Counter(splits).items()))
    return "\n".join([*lines, f"{target}: {counts}"])


def report_lines(report: CheckReport, *, paint: Callable[..., str]) -> list[str]:
    """What people read: the findings, how many pictures each class has, and the verdict.

    `paint` colours a text, as click.style does.
    """
    lines = [line for finding in report.findings for line in _finding_lines(finding, paint)]
    if report.classes:
        lines += ["", *_class_lines(report)]
    return [*lines, "", _verdict(report, paint)]


def _finding_lines(finding: Finding, paint: Callable[..., str]) -> list[str]:
    # Padded before it is coloured: the colour's signs must not count as width.
    severity = paint(f"{finding.severity:<8}", fg=COLOURS[finding.severity], bold=True)
    lines = [f"{severity} {finding.count:>7,}  {finding.what}"]
    lines += [f"{'':<18}  {example}" for example in finding.examples]
    if finding.count > len(finding.examples) > 0:
        lines.append(f"{'':<18}  ... and {finding.count - len(finding.examples):,} more")
    if finding.remedy:
        lines.append(f"{'':<16}  -> {finding.remedy}")
    return lines


def _excluded_lines(dataset: Dataset, target: Path) -> list[str]:
    """Where what is left out is listed, if anything is; a list from an earlier time is replaced."""
    beside = target.with_suffix(".excluded.csv")
    if not dataset.excluded and not beside.exists():
        return []
    write_excluded(dataset.excluded, beside, root=dataset.manifest.root)
    return [f"{beside}: {len(dataset.excluded)} left out"]


def _object_lines(dataset: Dataset) -> list[str]:
    """A table of objects and pictures by class and split; of many classes the smallest."""
    classes, all_of_it = class_table(dataset.manifest), totals(dataset.manifest)
    size = {name: sum(one.objects for one in row.values()) for name, row in classes.items()}
    shown = list(classes)
    if len(shown) > MOST_CLASSES:
        shown = sorted(shown, key=lambda name: (size[name], name))[:MOST_CLASSES]
    lines = table_lines(
        [("objects/pictures", *all_of_it)]
        + [
            (name, *(f"{one.objects:,}/{one.images:,}" for one in row.values()))
            for name, row in [*((name, classes[name]) for name in shown), ("total", all_of_it)]
        ],
        numbers=range(1, len(all_of_it) + 1),
    )
    left_out = len(classes) - len(shown)
    return [*lines, f"... and {left_out:,} larger classes"] if left_out else lines


def _class_lines(report: CheckReport) -> list[str]:
    """A table of the classes by split; of many classes those with the fewest pictures."""
    known = ("train", "fit", "val", "test", "query", "gallery", "all")
    found = {split for counts in report.classes.values() for split in counts}
    splits = [split for split in known if split in found]
    total = {name: sum(counts.values()) for name, counts in report.classes.items()}
    shown = list(report.classes)
    if len(shown) > MOST_CLASSES:
        shown = sorted(shown, key=lambda name: (total[name], name))[:MOST_CLASSES]
    heads = ["pictures" if split == "all" else split for split in splits]
    rows = [
        (name, *(f"{report.classes[name].get(split, 0):,}" for split in splits)) for name in shown
    ]
    lines = table_lines([("class", *heads), *rows], numbers=range(1, len(splits) + 1))
    if len(report.classes) > len(shown):
        lines.append(f"... and {len(report.classes) - len(shown):,} larger classes (--json)")
    return lines


def _verdict(report: CheckReport, paint: Callable[..., str]) -> str:
    kinds = Counter(finding.severity for finding in report.findings)
    counted = [
        f"{kinds[severity]} kind{'' if kinds[severity] == 1 else 's'} of {severity}"
        for severity in ("error", "warning")
        if kinds[severity]
    ]
    facts = ", ".join([f"{report.samples:,} pictures", *counted])
    if report.exit_code:
        return paint(f"{facts}: training on this data would be wrong", fg="red", bold=True)
    return paint(f"{facts}: fit for training", fg="green", bold=True)


def _configured(source: str, overrides: Sequence[str]) -> PictureTaskConfig:
    path = Path(source).expanduser()
    if path.is_dir():
        source, overrides = _recipe_for(path), [f"data.root={path}", *overrides]
    elif path.suffix.lower() in (".csv", ".tsv"):
        source, overrides = RECIPE, [f"data.train_csv={path}", *overrides]
    elif "=" in source:
        source, overrides = RECIPE, [source, *overrides]
    config = load_config(source, overrides, tasks=TASK_CONFIGS)
    assert isinstance(config, TaskConfig)
    config = of_pictures(config)
    if config.data.source == "none":
        raise UsageError(
            "Nothing says which data is meant.",
            expected="a folder, a CSV, or a configuration that names its data",
            got=source,
            remedy="for example: sightline check photos",
        )
    return config


def _recipe_for(folder: Path) -> str:
    """The recipe whose data is laid out as a folder is."""
    if holds_defects(folder):
        return DEFECT_RECIPE
    return REID_RECIPE if holds_identities(folder) else RECIPE
