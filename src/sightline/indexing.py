"""`sightline index`: a trained model's embeddings of a gallery, saved to be searched."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from sightline.config import load_config
from sightline.config.image_size import size_of
from sightline.data.dataset import open_images
from sightline.data.decoding import every_bad_file_named
from sightline.data.images import Images
from sightline.data.manifest import Manifest
from sightline.data.readers import read_manifest
from sightline.errors import UsageError
from sightline.evaluation import shown_paths
from sightline.experiment import images_of, read_dataset
from sightline.runs import RunFolder, file_hash
from sightline.search.settings import IndexSettings
from sightline.search.writer import GalleryWriter
from sightline.tasks.config import TaskConfig, of_pictures
from sightline.tasks.retrieval_decision import INDEX_FOLDER
from sightline.tasks.task import GalleryTask
from sightline.trained import TASK_CONFIGS, require_answers, run_config
from sightline.trained.predictor import Opener, Predictor, create_predictor
from sightline.training.runtime import cache_folder

Say = Callable[[str], object]

ROWS_AT_ONCE = 8192
"""Pictures that are embedded before they are written down; their vectors are all that is held."""
_READ_BY = {
    "retrieve": ("retrieve/basic", "data.min_image_size=0"),
    "reid": ("reid/baseline",),
}
"""The recipe by which the pictures of another gallery are read, and what is set beside it."""


def index_run(
    run: RunFolder, *, checkpoint: str | None = None, device: str = "auto", say: Say = print
) -> Path:
    """Embed the run's own gallery, of the splits that its task says, into its folder.

    Raises UsageError for a run of another task. What was there before stays until all is written.
    """
    predictor = _embedder_of(run, checkpoint=checkpoint, device=device)
    config = predictor.config
    dataset = read_dataset(run, config)
    splits = cast(GalleryTask, predictor.task).gallery_splits(dataset, config)
    _, left_out = images_of(dataset.part(*splits), config)
    samples = dataset.without(left_out).part(*splits)
    target = run.path / INDEX_FOLDER
    _write(
        target,
        predictor,
        samples,
        lambda rows, member: images_of(rows, member)[0],
        settings=_index_settings(config),
        paths=shown_paths(samples, run),
    )
    say(f"index {target}: {_in_words(samples)}")
    return target


def index_source(  # noqa: PLR0913 (what may be said on the command line)
    run: RunFolder,
    source: Path,
    target: Path,
    overrides: Sequence[str] = (),
    *,
    checkpoint: str | None = None,
    device: str = "auto",
    say: Say = print,
) -> Path:
    """Embed a folder with one folder of pictures per class, or a table, as a gallery of its own.

    `overrides` are KEY=VALUE of the sections `data` (how the source is read) and `index` (which
    engine). Raises DataError for pictures that cannot be read, all of which it names.
    """
    if target.resolve().is_relative_to(run.path.resolve()):
        raise UsageError(
            "The index of other pictures would take the place of what the run has of its own.",
            got=target,
            where="--out",
            remedy="name a folder outside of the run",
        )
    predictor = _embedder_of(run, checkpoint=checkpoint, device=device)
    data, settings = _source_settings(run, source, overrides)
    samples = read_manifest(data)

    def opened(rows: Manifest, member: TaskConfig) -> Images:
        config = of_pictures(member)
        read = config.data.model_copy(update={"on_bad_image": "error", "cache": "off"})
        size, folder = config.train.img_size, config.data.cache_dir or cache_folder()
        return open_images(rows, read, size=size, cache_dir=folder, say=lambda _: None)[0]

    paths = [str(samples.file(row)) for row in range(len(samples))]
    with every_bad_file_named(
        samples, shorter_side=size_of(of_pictures(predictor.config).train.img_size).shorter
    ):
        _write(target, predictor, samples, opened, settings=settings, paths=paths)
    say(f"index {target}: {_in_words(samples)}")
    return target


def _embedder_of(run: RunFolder, *, checkpoint: str | None, device: str) -> Predictor:
    require_answers(run, "neighbours", "an index")
    return create_predictor(run, checkpoint=checkpoint, device=device)


def _source_settings(
    run: RunFolder, source: Path, overrides: Sequence[str]
) -> tuple[Any, IndexSettings]:
    """The `data` and `index` sections for another source; what belongs to the run's is left out."""
    for one in overrides:
        if not one.startswith(("data.", "index.")):
            raise UsageError(
                "Only keys of `data` and `index` change how a gallery is read and searched.",
                got=one,
                remedy="for example data.label_col=label, index.engine=faiss-hnsw",
            )
    key = "train_csv" if source.suffix.lower() in (".csv", ".tsv") else "root"
    recipe, *plain = _READ_BY[run_config(run).task]
    read = [one for one in overrides if one.startswith("data.")]
    searched = [one for one in overrides if one.startswith("index.")]
    there = load_config(recipe, [f"data.{key}={source}", *plain, *read], tasks=TASK_CONFIGS)
    own = load_config(str(run.config_file), searched, tasks=TASK_CONFIGS)
    assert isinstance(there, TaskConfig)
    return there.data, _index_settings(own)


def _index_settings(config: Any) -> IndexSettings:
    """The `index` section, which every task with a gallery has."""
    settings: IndexSettings = config.index
    return settings


def _write(
    target: Path,
    predictor: Predictor,
    samples: Manifest,
    open_pictures: Opener,
    *,
    settings: IndexSettings,
    paths: Sequence[str],
) -> None:
    member = predictor.members[0]
    model = {
        "run": predictor.run.id,
        "checkpoint": member.checkpoint,
        "sha256": file_hash(member.run.ckpt / member.checkpoint),
    }
    metric = cast(GalleryTask, predictor.task).gallery_metric(predictor.config)
    with GalleryWriter(target, metric=metric, model=model, settings=settings) as writer:
        for start in range(0, len(samples), ROWS_AT_ONCE):
            rows = range(start, min(start + ROWS_AT_ONCE, len(samples)))
            part = samples.select(np.array(rows))
            used, _ = predictor.answer(part, open_pictures)
            within = range(len(part))
            writer.append(
                used["embeddings"],
                ids=part.id,
                labels=[part.label.text(row) for row in within],
                groups=[part.group.text(row) for row in within],
                splits=[part.split_text(row) for row in within],
                paths=[paths[row] for row in rows],
            )


def _in_words(samples: Manifest) -> str:
    classes = len(np.unique(samples.label.codes))
    return f"{len(samples)} pictures of {classes} classes"
