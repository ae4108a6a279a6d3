"""The composition root: a configuration becomes data, a model, a trainer and a run."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence

import torch

from sightline.config import dump_config, plain_tree
from sightline.data.dataset import Dataset, open_images, prepare_dataset, require_known_labels
from sightline.data.images import Images
from sightline.data.loading import ImageLoader, Shard, default_workers
from sightline.data.splits_file import read_splits, write_splits
from sightline.data.views import augmentation
from sightline.errors import ConfigError, TrainingError
from sightline.recording import (
    Session,
    announce,
    class_counts,
    conclude,
    first_says,
    fold_of,
    observers,
    record_changes,
    recorded,
    versions,
)
from sightline.resumption import resume_training
from sightline.runs import History, RunFolder
from sightline.tasks import TASKS
from sightline.tasks.config import TaskConfig
from sightline.training.runtime import (
    cache_folder,
    gather_from_processes,
    keep_freed_memory,
    process,
    process_group,
    resolve_device,
    seed_everything,
)
from sightline.training.trainer import BaseTrainer

SPLITS_FILE = "splits.csv"


def train(
    config: TaskConfig, *, command: Sequence[str], resume: RunFolder | None = None
) -> RunFolder:
    """Train as configured in a new run folder, or go on in an old one, and return it.

    The run ends as finished, stopped (a signal; Interrupted is raised) or failed (the error is
    raised); run.json, the log and metrics.jsonl say which.
    """
    _require_one_fold(config)
    device = resolve_device(config.train.device)
    keep_freed_memory(device)
    with process_group(device) as here:
        dataset = _dataset_of(config, resume)
        require_known_labels(dataset)
        run = _shared_run(lambda: resume or _create_run(config, command))
        with contextlib.ExitStack() as stack:
            if here.is_first:
                stack.enter_context(recorded(run, config))
            stack.enter_context(_memory_errors_explained(config))
            _train_in(Session(config, TASKS[config.task], dataset, run, device))
        return RunFolder.open(run.path)


def read_dataset(run: RunFolder, config: TaskConfig) -> Dataset:
    """The samples and splits of a run, as it saved them; changed files are a DataError."""
    file, data = run.path / SPLITS_FILE, config.data
    return Dataset(read_splits(file, verify=data.verify_files, workers=data.workers))


def images_for(
    dataset: Dataset, config: TaskConfig, splits: Sequence[str]
) -> tuple[list[Images], set[str]]:
    """The images of each split, decoded, and the ids left out as unreadable."""
    # All at once, so that an error about unreadable files names those of every split.
    images, left_out = open_images(
        dataset.part(*splits),
        config.data,
        size=config.train.img_size,
        cache_dir=config.data.cache_dir or cache_folder(),
        say=first_says("DATA"),
    )
    return [images.select(images.manifest.rows(split)) for split in splits], left_out


def loader_for(
    images: Images, config: TaskConfig, *, device: torch.device, training: bool
) -> ImageLoader:
    """Batches for fitting (augmented, shuffled) or for evaluation (plain, in order)."""
    here, data, on_gpu = process(), config.data, device.type == "cuda"
    workers = data.workers
    if workers is None:
        workers = default_workers(cached=images.store is not None, on_gpu=on_gpu)
    batch_size = config.train.batch_size
    return ImageLoader(
        images,
        size=config.train.img_size,
        batch_size=batch_size if training else config.eval.batch_size or batch_size,
        augment=augmentation(data.augment) if training else None,
        seed=config.project.seed,
        workers=workers,
        shard=Shard(here.rank, here.count),
        pin_memory=on_gpu,
    )


@contextlib.contextmanager
def _memory_errors_explained(config: TaskConfig) -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise TrainingError(
            "The accelerator has not enough memory for this step.",
            got=str(error).splitlines()[0],
            where=f"train.batch_size={config.train.batch_size} train.img_size="
            f"{config.train.img_size} model.name={config.model.name}",
            remedy="halve train.batch_size and double train.accumulate_steps",
        ) from error


def _require_one_fold(config: TaskConfig) -> None:
    if config.data.valid_fold == "all":
        raise ConfigError(
            "data.valid_fold=all, every fold in turn, is not there yet.",
            expected=f"one fold, 0 to {max(config.data.folds, 1) - 1}",
            remedy="train each fold as a run of its own: data.valid_fold=0, then 1 ...",
        )


def _dataset_of(config: TaskConfig, resume: RunFolder | None) -> Dataset:
    if resume is not None and (resume.path / SPLITS_FILE).exists():
        return read_dataset(resume, config)
    return prepare_dataset(config.data, seed=config.project.seed)


def _shared_run(make: Callable[[], RunFolder]) -> RunFolder:
    """The run that the first process makes, opened by all."""
    run = make() if process().is_first else None
    path = gather_from_processes(None if run is None else str(run.path))[0]
    return run or RunFolder.open(path)


def _create_run(config: TaskConfig, command: Sequence[str]) -> RunFolder:
    return RunFolder.create(
        config.output.exp_dir,
        name=config.project.name,
        task=config.task,
        command=command,
        config_text=dump_config(config),
        seeds={"project": config.project.seed},
        versions=versions(),
    )


def _train_in(session: Session) -> None:
    config, run, first = session.config, session.run, process().is_first
    for note in session.dataset.notes:
        first_says("DATA")(note)
    # The test is decoded too, so that an unreadable file is known now and not after training.
    (fit_images, val_images, _), left_out = images_for(
        session.dataset, config, ("fit", "val", "test")
    )
    dataset = session.dataset.without(left_out)
    if first and not (run.path / SPLITS_FILE).exists():
        write_splits(dataset.manifest, run.path / SPLITS_FILE, hashes=dataset.hashes)
    fit_loader = loader_for(fit_images, config, device=session.device, training=True)
    val_loader = loader_for(val_images, config, device=session.device, training=False)

    latest = run.ckpt / "latest_model.pth"
    history = History(run.metrics_file)
    trainer = _create_trainer(session, dataset, history, steps=len(fit_loader))
    if first:
        announce(session, trainer, dataset)
    if latest.exists():
        at = resume_training(trainer, latest, plain_tree(config.train))
        first_says("BOOT")(f"resumed after epoch {at['epoch']}, step {at['step']}")
    if first:
        record_changes(run, config)
        history.truncate_after(trainer.progress.step, fold=fold_of(config))
    trainer.fit(fit_loader, val_loader if len(val_images) else None, config.train.epochs)
    if not config.train.epochs and not latest.exists():
        # Nothing was trained: what evaluate is to use are the weights the model began with.
        trainer.prepare()
        trainer.save_checkpoint(0, {})
    if first:
        conclude(run, trainer, history, config)


def _create_trainer(
    session: Session, dataset: Dataset, history: History, *, steps: int
) -> BaseTrainer:
    """The task's trainer over a new model; `steps` is the number of batches in an epoch."""
    config, run, task = session.config, session.run, session.task
    # Here and not earlier: how the data was read must not change the initial weights.
    seed_everything(config.project.seed)
    model = task.create_model(
        config, dataset.class_names, trained=(run.ckpt / "latest_model.pth").exists()
    )
    trainer = task.create_trainer(
        config,
        model,
        class_counts=class_counts(dataset, "fit"),
        steps_per_epoch=-(-steps // config.train.accumulate_steps),
        checkpoint_dir=run.ckpt,
        callbacks=observers(config, history) if process().is_first else (),
    )
    trainer.about = {
        "run": run.id,
        "task": config.task,
        "class_names": list(dataset.class_names),
        "config": plain_tree(config),
    }
    return trainer
