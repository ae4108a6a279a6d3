"""How a training is told: its log lines, its run.json, its observers, and how it ended."""

from __future__ import annotations

import contextlib
import platform
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sightline.config import dump_config, plain_tree
from sightline.data.dataset import Dataset
from sightline.errors import Interrupted, SightlineError
from sightline.runs import History, LogFile, RunFolder, log, publish_latest, write_atomically
from sightline.tasks.config import TaskConfig
from sightline.tasks.task import Task
from sightline.training.callbacks import Callback, MetricsFile, ProgressBar, ProgressLines
from sightline.training.runtime import process
from sightline.training.trainer import BaseTrainer

SHOWN_AS = {"fit": "train", "val": "val", "test": "test"}
"""How the splits are called where people read; `train` without `val` is `fit` inside."""


@dataclass(frozen=True)
class Session:
    """One training under way: what was configured, and the pieces made from it."""

    config: TaskConfig
    task: Task
    dataset: Dataset
    run: RunFolder
    device: torch.device


@contextlib.contextmanager
def recorded(run: RunFolder, config: TaskConfig) -> Iterator[None]:
    """Mirror the output into the run's log, and record in run.json how the block ended."""
    logfile = LogFile(
        config.output.logs_dir,
        run_id=run.id,
        created=run.created,
        augmentation=config.data.augment.preset,
    )
    try:
        with logfile, _terminated_with_an_error():
            run.set_status("running")
            run.update(log=str(logfile.path.absolute()))
            log("BOOT", f"{run.info['task']} run {run.id}")
            log("ARTIFACTS", f"run={run.path} log={logfile.path}")
            yield
    except Interrupted as stop:
        run.set_status("stopped", stop_reason=stop.what)
        raise
    except KeyboardInterrupt:
        run.set_status("stopped", stop_reason="Ctrl-C, at once: the step under way is lost")
        raise
    except BaseException as error:
        text = str(error) if isinstance(error, SightlineError) else repr(error)
        run.set_status("failed", error=text)
        raise


def record_changes(run: RunFolder, config: TaskConfig) -> None:
    """Make the changed configuration the run's own, and keep the old one in run.json."""
    old, new = run.config_file.read_text(encoding="utf-8"), dump_config(config)
    if new != old:
        run.update(earlier_configs=[*run.info.get("earlier_configs", []), old])
        write_atomically(run.config_file, new)


@contextlib.contextmanager
def _terminated_with_an_error() -> Iterator[None]:
    """Make SIGTERM an Interrupted where nothing better is done with it (the trainer's fit)."""

    def end(number: int, frame: object) -> None:
        raise Interrupted(
            "Stopped by SIGTERM before the first step; there was nothing to save.",
            exit_code=128 + number,
            remedy="continue with --resume",
        )

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def announce(session: Session, trainer: BaseTrainer, dataset: Dataset) -> None:
    """Log, and write into run.json, what is about to be trained on what."""
    config, device = session.config, session.device
    for section, values in plain_tree(config).items():
        log("CFG", f"{section}: {values}")
    root = session.run.info["data"].get("root") or str(dataset.manifest.root)
    log("PATH", " | ".join(["OK", *_paths(config), f"root={root}"]))
    counts = {shown: len(dataset.part(split)) for split, shown in SHOWN_AS.items()}
    log("DATA", "dataset sizes | " + " ".join(f"{name}={n}" for name, n in counts.items()))
    if config.data.folds:
        folds, sizes = np.unique(dataset.manifest.fold, return_counts=True)
        listed = {int(fold): int(size) for fold, size in zip(folds, sizes, strict=True)}
        log("FOLD", f"distribution={ {fold: n for fold, n in listed.items() if fold >= 0} }")
    total = sum(parameter.numel() for parameter in trainer.model.parameters())
    trained = sum(p.numel() for p in trainer.model.parameters() if p.requires_grad)
    log(
        "MODEL",
        f"name={config.model.name} pooling={config.model.pooling} "
        f"params(total/trainable)={total}/{trained} device={device} "
        f"precision={trainer.precision.name}",
    )
    report = getattr(trainer.model, "weights_report", None)
    if report is not None:
        log("MODEL", f"weights: {report.summary()}")
    session.run.update(
        device={
            "type": device.type,
            "name": _device_name(device),
            "precision": trainer.precision.name,
            "processes": process().count,
            "threads": torch.get_num_threads(),
        },
        data={
            **counts,
            "classes": list(dataset.class_names),
            "root": root,
            "class_counts": {
                shown: dict(zip(dataset.class_names, class_counts(dataset, split), strict=True))
                for split, shown in SHOWN_AS.items()
            },
        },
    )


def class_counts(dataset: Dataset, split: str) -> list[int]:
    """Samples of each class in a split, in the order of the classes."""
    codes = dataset.part(split).label.codes
    counts: list[int] = np.bincount(codes, minlength=len(dataset.class_names)).tolist()
    return counts


def conclude(run: RunFolder, trainer: BaseTrainer, history: History, config: TaskConfig) -> None:
    """Record the end of a training that was neither interrupted nor failed."""
    progress = trainer.progress
    value, metric = progress.best_value, trainer.config.monitor or "loss"
    history.write_columns(run.path / "train_history.json")
    # Without a value nothing was chosen by a metric: the last epoch stands.
    best = {"metric": metric if value is not None else None, "value": value}
    best["epoch"] = progress.best_epoch
    run.update(best=best, epochs=progress.epoch, steps=progress.step)
    run.set_status("finished", stop_reason=trainer.stop_reason)
    latest = publish_latest(run, config.output.exp_dir)
    log("COPY", f"latest run: {latest} -> {run.id}")
    if trainer.stop_reason:
        log("DONE", f"stopped early: {trainer.stop_reason}")
    chosen = "the last one: there was no validation" if value is None else f"{metric}={value:.4f}"
    if progress.epoch:
        log("DONE", f"best epoch {progress.best_epoch} ({chosen}) of {progress.epoch}")
    else:
        log("DONE", "train.epochs=0: nothing was trained, the initial weights are the result")
    log("BOOT", "training pipeline finished successfully")


def observers(config: TaskConfig, history: History) -> list[Callback]:
    """Progress for the terminal or for a log, the metrics file, and a line for each epoch."""
    stream = getattr(sys.stderr, "original", sys.stderr)
    progress: Callback = ProgressLines(config.train.log_interval)
    if stream.isatty():
        progress = ProgressBar(stream)
    return [progress, MetricsFile(history.append, fold=fold_of(config)), EpochLines(config)]


def fold_of(config: TaskConfig) -> int | None:
    """The fold that is held out for validation; None without folds."""
    fold = config.data.valid_fold
    return fold if config.data.folds and isinstance(fold, int) else None


class EpochLines(Callback):
    """The log's line for each epoch, and for each new best."""

    def __init__(self, config: TaskConfig) -> None:
        self._epochs = config.train.epochs
        self._monitor = config.train.monitor or "loss"

    def on_epoch_end(self, row: Mapping[str, Any]) -> None:
        """One line with every number of the row."""
        numbers = " ".join(
            f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}"
            for name, value in row.items()
            if value is not None and name not in ("epoch", "split")
        )
        log(f"EPOCH {row['epoch']}", f"of {self._epochs} {numbers}")

    def on_checkpoint(self, path: Path, metrics: Mapping[str, Any]) -> None:
        """Say that the best checkpoint was replaced."""
        if path.name == "best_model.pth":
            name = "F1" if self._monitor == "macro_f1" else self._monitor
            value = metrics.get(self._monitor)
            shown = "" if value is None else f"{name}={value:.4f} "
            log("NEW_BEST", f"{shown}-> ckpt/{path.name}")


def _paths(config: TaskConfig) -> list[str]:
    """The files and folders that the `data` section names."""
    names = ("train_csv", "sample_csv", "image_dir_train", "manifest", "digits")
    return [f"{name}={path}" for name in names if (path := getattr(config.data, name)) is not None]


def first_says(tag: str) -> Callable[[str], None]:
    """A function that logs under the tag, in the first process only."""
    first = process().is_first
    return lambda message: log(tag, message) if first else None


def versions() -> dict[str, str]:
    """Versions of what decides a run's numbers."""
    names = ("sightline", "torch", "torchvision", "timm", "numpy", "pillow", "scikit-learn")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    return platform.processor() or platform.machine()
