"""The composition root: a configuration becomes data, a model, a trainer and a run."""

from __future__ import annotations

import contextlib
import platform
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sightline.config import dump_config
from sightline.data.dataset import Dataset, open_images, prepare_dataset, require_known_labels
from sightline.data.images import Images
from sightline.data.loading import ImageLoader, Shard, default_workers
from sightline.data.splits_file import read_splits, write_splits
from sightline.data.views import augmentation
from sightline.errors import Interrupted, SightlineError
from sightline.runs import History, LogFile, RunFolder, log, publish_latest
from sightline.tasks import TASKS
from sightline.tasks.config import TaskConfig
from sightline.tasks.task import Task
from sightline.training.callbacks import Callback, MetricsFile, ProgressBar, ProgressLines
from sightline.training.runtime import (
    cache_folder,
    gather_from_processes,
    process,
    process_group,
    resolve_device,
    seed_everything,
)
from sightline.training.trainer import BaseTrainer

SPLITS_FILE = "splits.csv"


@dataclass(frozen=True)
class Session:
    """One training under way: what was configured, and the pieces made from it."""

    config: TaskConfig
    task: Task
    dataset: Dataset
    run: RunFolder
    device: torch.device


def train(config: TaskConfig, *, command: Sequence[str], resume: RunFolder | None = None) -> RunFolder:
    """Train as configured in a new run folder, or go on in an old one, and return it.

    The run ends as finished, stopped (a signal; Interrupted is raised) or failed (the error is
    raised); run.json, the log and metrics.jsonl say which.
    """
    device = resolve_device(config.train.device)
    with process_group(device) as here:
        seed_everything(config.project.seed)
        if resume is None:
            dataset = prepare_dataset(config.data, seed=config.project.seed)
        else:
            dataset = read_dataset(resume, config)
        require_known_labels(dataset)
        run = _shared_run(lambda: resume or _create_run(config, command))
        with contextlib.ExitStack() as stack:
            if here.is_first:
                stack.enter_context(_recorded(run, config))
            _train_in(Session(config, TASKS[config.task], dataset, run, device), resumed=bool(resume))
        return RunFolder.open(run.path)


def loader_for(
    images: Images, config: TaskConfig, *, device: torch.device, training: bool
) -> ImageLoader:
    """Batches for fitting (augmented, shuffled) or for evaluation (plain, in order)."""
    here, data = process(), config.data
    on_gpu = device.type == "cuda"
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


def images_for(
    dataset: Dataset, config: TaskConfig, splits: Sequence[str]
) -> tuple[list[Images], set[str]]:
    """The images of each split, decoded, and the ids left out as unreadable."""
    opened, left_out = [], set()
    for split in splits:
        images, bad = open_images(
            dataset.part(split),
            config.data,
            size=config.train.img_size,
            cache_dir=config.data.cache_dir or cache_folder(),
            say=_first_says("DATA"),
        )
        opened.append(images)
        left_out |= bad
    return opened, left_out


def _train_in(session: Session, *, resumed: bool) -> None:
    config, dataset, run = session.config, session.dataset, session.run
    first = process().is_first
    say = _first_says("DATA")
    for note in dataset.notes:
        say(note)
    (fit_images, val_images), left_out = images_for(dataset, config, ("fit", "val"))
    dataset = dataset.without(left_out)
    if first and not resumed:
        write_splits(dataset.manifest, run.path / SPLITS_FILE, hashes=dataset.hashes)
    counts = {split: len(dataset.part(split)) for split in ("fit", "val", "test")}
    say("dataset sizes | " + " ".join(f"{'train' if k == 'fit' else k}={v}" for k, v in counts.items()))

    fit_loader = loader_for(fit_images, config, device=session.device, training=True)
    val_loader = loader_for(val_images, config, device=session.device, training=False)
    model = session.task.create_model(config, dataset.class_names, trained=resumed)
    history = History(run.metrics_file)
    trainer = session.task.create_trainer(
        config,
        model,
        class_counts=_class_counts(dataset),
        steps_per_epoch=-(-len(fit_loader) // config.train.accumulate_steps),
        checkpoint_dir=run.ckpt,
        callbacks=_observers(config, run, history) if first else (),
    )
    trainer.about = {
        "run": run.id,
        "task": config.task,
        "class_names": list(dataset.class_names),
        "config": config.model_dump(mode="json"),
    }
    if first:
        _announce(session, trainer, counts)
    if resumed and (run.ckpt / "latest_model.pth").exists():
        about = trainer.load_checkpoint(run.ckpt / "latest_model.pth")
        if first:
            history.truncate_after(about["step"])
            log("BOOT", f"resumed at epoch {about['epoch']} step {about['step']}")
    trainer.fit(fit_loader, val_loader if counts["val"] else None, config.train.epochs)
    if first:
        _conclude(run, trainer, history, config)


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


def versions() -> dict[str, str]:
    """Versions of what decides a run's numbers."""
    from importlib.metadata import version

    names = ("sightline", "torch", "torchvision", "timm", "numpy", "pillow", "scikit-learn")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}


def _shared_run(make: Callable[[], RunFolder]) -> RunFolder:
    """The run that the first process makes, opened by all."""
    here = process()
    run = make() if here.is_first else None
    path = gather_from_processes(None if run is None else str(run.path))[0]
    return run or RunFolder.open(path)


@contextlib.contextmanager
def _recorded(run: RunFolder, config: TaskConfig) -> Iterator[None]:
    """Mirror the output into the run's log, and record how the block ended."""
    logfile = LogFile(
        config.output.logs_dir,
        run_id=run.id,
        created=run.created,
        augmentation=config.data.augment.preset,
    )
    with logfile:
        run.set_status("running")
        run.update(log=str(logfile.path.absolute()))
        log("BOOT", f"{run.info['task']} run {run.id}")
        log("ARTIFACTS", f"run={run.path} log={logfile.path}")
        try:
            yield
        except Interrupted as signal:
            run.set_status("stopped", stop_reason=signal.what)
            raise
        except KeyboardInterrupt:
            run.set_status("stopped", stop_reason="Ctrl-C pressed twice")
            raise
        except BaseException as error:
            text = str(error) if isinstance(error, SightlineError) else repr(error)
            run.set_status("failed", error=text)
            raise


def _announce(session: Session, trainer: BaseTrainer, counts: dict[str, int]) -> None:
    """The log lines and run.json fields that say what is about to be trained."""
    config, run, dataset = session.config, session.run, session.dataset
    for section, values in config.model_dump(mode="json", exclude_defaults=False).items():
        log("CFG", f"{section}: {values}")
    log("PATH", f"OK | root={dataset.manifest.root}")
    if config.data.folds:
        log("FOLD", f"distribution={_fold_sizes(dataset)}")
    parameters = list(trainer.model.parameters())
    total = sum(p.numel() for p in parameters)
    trainable = sum(p.numel() for p in parameters if p.requires_grad)
    report = getattr(trainer.model, "weights_report", None)
    log(
        "MODEL",
        f"name={config.model.name} pooling={config.model.pooling} "
        f"params(total/trainable)={total}/{trainable} device={session.device} "
        f"precision={trainer.precision.name}" + (f" weights: {report.summary()}" if report else ""),
    )
    sizes = {"train" if split == "fit" else split: count for split, count in counts.items()}
    run.update(
        device={
            "type": session.device.type,
            "name": _device_name(session.device),
            "precision": trainer.precision.name,
            "processes": process().count,
            "threads": torch.get_num_threads(),
        },
        data={
            **sizes,
            "classes": list(dataset.class_names),
            "root": str(dataset.manifest.root),
            "counts": {
                "train" if split == "fit" else split: _class_counts(dataset, split)
                for split in counts
            },
        },
    )


def _conclude(
    run: RunFolder, trainer: BaseTrainer, history: History, config: TaskConfig
) -> None:
    """Record the end of a training that was neither interrupted nor failed."""
    progress = trainer.progress
    history.write_columns(run.path / "train_history.json")
    best = {
        "metric": trainer.config.monitor or "loss",
        "value": progress.best_value,
        "epoch": progress.best_epoch,
    }
    run.update(best=best, epochs=progress.epoch, steps=progress.step)
    run.set_status("finished", stop_reason=trainer.stop_reason)
    latest = publish_latest(run, config.output.exp_dir)
    log("COPY", f"latest run: {latest} -> {run.id}")
    chosen = f"{best['metric']}={best['value']:.4f}" if best["value"] is not None else "last epoch"
    log("DONE", f"best epoch {best['epoch']} ({chosen}) of {progress.epoch}")
    log("BOOT", "training pipeline finished successfully")


class _EpochLines(Callback):
    """The log's line for each epoch, and for each new best."""

    def __init__(self, epochs: int) -> None:
        self._epochs = epochs
        self._row: dict[str, Any] = {}

    def on_epoch_end(self, row: Any) -> None:
        """One line with every number of the row."""
        self._row = dict(row)
        numbers = " ".join(
            f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}"
            for name, value in row.items()
            if value is not None and name not in ("epoch", "split")
        )
        log(f"EPOCH {row['epoch']}", f"of {self._epochs} {numbers}")

    def on_checkpoint(self, path: Path, row: Any) -> None:
        """Say which epoch is the best so far."""
        if path.name == "best_model.pth":
            score = self._row.get("macro_f1")
            shown = "" if score is None else f"F1={score:.4f} "
            log("NEW_BEST", f"{shown}-> ckpt/{path.name}")


def _observers(config: TaskConfig, run: RunFolder, history: History) -> list[Callback]:
    stream = getattr(sys.stderr, "original", sys.stderr)
    observers: list[Callback] = [MetricsFile(history.append), _EpochLines(config.train.epochs)]
    if stream.isatty():
        observers.append(ProgressBar(stream))
    else:
        observers.append(ProgressLines(config.train.log_interval))
    return observers


def read_dataset(run: RunFolder, config: TaskConfig) -> Dataset:
    """The samples and splits of a run, as it saved them."""
    from sightline.data.fingerprints import digests

    file = run.path / SPLITS_FILE
    if not file.exists():
        dataset = prepare_dataset(config.data, seed=config.project.seed)
        write_splits(dataset.manifest, file, hashes=dataset.hashes)
        return dataset
    manifest = read_splits(file, verify=config.data.verify_files)
    return Dataset(manifest, digests(manifest, config.data.workers))


def _class_counts(dataset: Dataset, split: str = "fit") -> list[int]:
    codes = dataset.part(split).label.codes
    counts: list[int] = np.bincount(codes, minlength=len(dataset.class_names)).tolist()
    return counts


def _fold_sizes(dataset: Dataset) -> dict[int, int]:
    folds, counts = np.unique(dataset.manifest.fold, return_counts=True)
    return {int(f): int(n) for f, n in zip(folds, counts, strict=True) if f >= 0}


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return platform.processor() or platform.machine()


def _first_says(tag: str) -> Callable[[str], None]:
    first = process().is_first
    return lambda message: log(tag, message) if first else None
