"""What the log, run.json and fold_results.yaml say when a training begins and ends."""

from __future__ import annotations

import platform
import statistics
import sys

import numpy as np
import torch

from sightline.config import plain_tree
from sightline.experiment.fold_results import read_fold_results, write_fold_result
from sightline.experiment.recording import COLUMNS_FILE
from sightline.experiment.session import Session
from sightline.runs import History, log, publish_latest
from sightline.tasks.config import TaskConfig
from sightline.training.checkpoint import link_checkpoint_file
from sightline.training.runtime import process
from sightline.training.trainer import BaseTrainer

SHOWN_AS = {"fit": "train", "val": "val", "test": "test"}
"""How the splits are called where people read; `train` without `val` is `fit` inside."""
LOGGED_AS = {"val": "valid"}
"""How scripts that read the log know them."""


def announce(session: Session) -> None:
    """Log, and write into run.json, what is about to be trained on."""
    config, dataset = session.config, session.dataset
    for section, values in plain_tree(config).items():
        log("CFG", f"{section}: {values}")
    root = session.run.info["data"].get("root") or str(dataset.manifest.root)
    log("PATH", " | ".join(["OK", *_paths(config), f"root={root}"]))
    parts = {**{split: (split,) for split in SHOWN_AS}, "test": session.task.test_splits}
    counts = {shown: len(dataset.part(*parts[split])) for split, shown in SHOWN_AS.items()}
    if config.data.fold_count:
        folds, sizes = np.unique(dataset.manifest.fold, return_counts=True)
        listed = {int(fold): int(size) for fold, size in zip(folds, sizes, strict=True)}
        log("FOLD", f"distribution={ {fold: n for fold, n in listed.items() if fold >= 0} }")
    if config.data.trains_every_fold:
        # Every row is validated once, by the fold's model that was not trained on it.
        counts["val"] = counts["train"]
    shown = " ".join(f"{LOGGED_AS.get(name, name)}={n}" for name, n in counts.items())
    log("DATA", f"dataset sizes | {shown}")
    session.run.update(
        data={
            **counts,
            "classes": list(dataset.class_names),
            "root": root,
            "class_counts": {
                shown: dict(
                    zip(dataset.class_names, dataset.class_counts(*parts[split]), strict=True)
                )
                for split, shown in SHOWN_AS.items()
                if counts[shown]
            },
        },
    )


def announce_part(session: Session, trainer: BaseTrainer) -> None:
    """Log, and write into run.json, which model is about to be trained where."""
    config, device = session.config, session.device
    if session.fold is not None:
        sizes = f"train={len(session.dataset.part('fit'))} valid={len(session.dataset.part('val'))}"
        log("FOLD", f"fold {session.fold} of {config.data.fold_count} | {sizes}")
    total = sum(parameter.numel() for parameter in trainer.model.parameters())
    trained = sum(p.numel() for p in trainer.model.parameters() if p.requires_grad)
    log(
        "MODEL",
        f"name={config.model.name} {_special(config)}"
        f"params(total/trainable)={total}/{trained} device={device} "
        f"precision={trainer.precision.name}",
    )
    report = getattr(trainer.model, "weights_report", None)
    if report is not None:
        log("MODEL", f"weights: {report.summary()}")
    if config.train.epochs:
        log(
            "MODEL",
            f"optimizer={config.train.optimizer} lr={config.train.lr:g} "
            f"weight_decay={config.train.weight_decay:g} scheduler={config.train.scheduler}",
        )
    session.run.update(
        device={
            "type": device.type,
            "name": _device_name(device),
            "precision": trainer.precision.name,
            "processes": process().count,
            "threads": torch.get_num_threads(),
        }
    )


def conclude_part(session: Session, trainer: BaseTrainer, *, seconds: float) -> None:
    """Record the end of a training, or of a fold, that was neither interrupted nor failed."""
    run, progress = session.run, trainer.progress
    value, metric = progress.best_value, trainer.config.monitor or "loss"
    if trainer.stop_reason:
        log("DONE", f"stopped early: {trainer.stop_reason}")
    chosen = "the last one: there was no validation" if value is None else f"{metric}={value:.4f}"
    if progress.epoch:
        log("DONE", f"best epoch {progress.best_epoch} ({chosen}) of {progress.epoch}")
    elif type(trainer).finalize is not BaseTrainer.finalize:
        log("DONE", "the model was computed from the training images, without epochs")
    else:
        log("DONE", "train.epochs=0: nothing was trained, the initial weights are the result")
    # Without a value nothing was chosen by a metric: the last epoch stands.
    best = {"metric": metric if value is not None else None, "value": value}
    run.update(
        best={**best, "epoch": progress.best_epoch},
        epochs=progress.epoch,
        steps=progress.step,
        stop_reason=trainer.stop_reason,
    )
    if session.fold is None:
        return
    name = f"best_fold{session.fold}.pth"
    link_checkpoint_file(session.checkpoints / "best_model.pth", run.ckpt / name)
    if not session.config.data.trains_every_fold:
        return
    rows = [row for row in trainer.history if row["epoch"] == progress.best_epoch]
    scores = rows[0] if rows else {}
    result = {
        "fold": session.fold,
        "best_f1": scores.get("macro_f1"),
        "best_accuracy": scores.get("accuracy"),
        "best": value,
        "best_epoch": progress.best_epoch,
        "epochs": progress.epoch,
        "stop_reason": trainer.stop_reason,
        "n_fit": len(session.dataset.part("fit")),
        "n_val": len(session.dataset.part("val")),
        "seconds": round(seconds, 1),
        "model_path": f"ckpt/{name}",
    }
    write_fold_result(run, metric, result)


def is_trained(session: Session) -> bool:
    """Whether a fold was finished before, for at least the epochs that are asked for."""
    if session.fold is None or not session.config.data.trains_every_fold:
        return False
    row = read_fold_results(session.run).get(session.fold)
    asked = session.config.train.epochs
    return row is not None and (row["epochs"] >= asked or row["stop_reason"] is not None)


def conclude(session: Session) -> None:
    """Record the end of the whole training and make it the latest one."""
    run, config = session.run, session.config
    History(run.metrics_file).write_columns(run.path / COLUMNS_FILE)
    if config.data.trains_every_fold:
        folds = read_fold_results(run).values()
        values = [row["best"] for row in folds if row["best"] is not None]
        mean = statistics.fmean(values) if values else None
        metric = run.info["best"]["metric"]
        run.update(best={"metric": metric, "value": mean, "epoch": None})
        if mean is not None:
            spread = ", ".join(f"{value:.4f}" for value in values)
            log("DONE", f"{len(folds)} folds: mean {metric}={mean:.4f} ({spread})")
    run.set_status("finished", stop_reason=run.info["stop_reason"])
    latest = publish_latest(run, config.output.exp_dir)
    log("COPY", f"Results copied to {latest.name}: {latest} -> {run.id}")
    print(f"📁 Latest results: {run.path}", file=sys.stderr, flush=True)
    log("BOOT", "training pipeline finished successfully")


def _special(config: TaskConfig) -> str:
    """What the model of a task is told beside its name, or nothing."""
    keys = ("method", "pooling")
    found = [f"{key}={getattr(config.model, key)} " for key in keys if hasattr(config.model, key)]
    return "".join(found)


def _paths(config: TaskConfig) -> list[str]:
    """The files and folders that the `data` section names."""
    names = ("train_csv", "sample_csv", "image_dir_train", "manifest", "digits", "vectors")
    found = ((name, getattr(config.data, name, None)) for name in names)
    return [f"{name}={path}" for name, path in found if path is not None]


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    return platform.processor() or platform.machine()
