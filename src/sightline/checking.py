"""`sightline check` and `sightline split`: looking at data, and fixing its splits, before training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from sightline.config import load_config
from sightline.data.dataset import prepare_dataset
from sightline.data.findings import CheckReport
from sightline.data.lint import check
from sightline.data.readers import read_manifest
from sightline.data.splits_file import write_splits
from sightline.errors import UsageError
from sightline.tasks.config import TaskConfig
from sightline.trained import TASK_CONFIGS

RECIPE = "classify/basic"
"""Gives the settings of a folder or table that comes without a configuration."""


def check_source(
    source: str, overrides: Sequence[str], *, near_duplicates: bool = True
) -> CheckReport:
    """What is wrong or remarkable about a folder, a CSV, or the data of a configuration."""
    config = _configured(source, overrides).data
    manifest = read_manifest(config, require_files=False)
    return check(
        manifest,
        workers=config.workers,
        near_duplicates=near_duplicates,
        min_image_size=config.min_image_size,
    )


def split_source(source: str, overrides: Sequence[str], target: Path) -> str:
    """Write the splits of some data to a file; a text with the sizes and the remarks."""
    config = _configured(source, overrides)
    dataset = prepare_dataset(config.data, seed=config.project.seed)
    write_splits(dataset.manifest, target, hashes=dataset.hashes)
    manifest = dataset.manifest
    sizes = Counter(manifest.split_text(row) for row in range(len(manifest)))
    counts = ", ".join(f"{name} {count}" for name, count in sorted(sizes.items()))
    return "\n".join([*(f"note: {note}" for note in dataset.notes), f"{target}: {counts}"])


def _configured(source: str, overrides: Sequence[str]) -> TaskConfig:
    path = Path(source).expanduser()
    if path.is_dir():
        source, overrides = RECIPE, [f"data.root={path}", *overrides]
    elif path.suffix.lower() in (".csv", ".tsv"):
        source, overrides = RECIPE, [f"data.train_csv={path}", *overrides]
    elif "=" in source:
        source, overrides = RECIPE, [source, *overrides]
    config = load_config(source, overrides, tasks=TASK_CONFIGS)
    assert isinstance(config, TaskConfig)
    if config.data.source == "none":
        raise UsageError(
            "Nothing says which data is meant.",
            expected="a folder, a CSV, or a configuration that names its data",
            got=source,
            remedy="for example: sightline check photos",
        )
    return config
