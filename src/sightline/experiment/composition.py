"""The composition root: a configuration becomes data, a model, a trainer and a run."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from sightline.config import dump_config, plain_tree
from sightline.data.dataset import Dataset
from sightline.data.exclusions import write_excluded
from sightline.data.folds import use_fold
from sightline.experiment.batch_fitting import memory_errors_explained, settle_batch_size
from sightline.experiment.milestones import (
    announce,
    announce_part,
    conclude,
    conclude_part,
    is_trained,
)
from sightline.experiment.recording import first_says, observers, record_changes, recorded, versions
from sightline.experiment.resumption import resume_training
from sightline.experiment.samples import (
    SPLITS_FILE,
    Samples,
    find_samples,
    loader_for,
    open_samples,
    read_dataset,
    save_samples,
)
from sightline.experiment.session import Session
from sightline.experiment.stages import Stages, ask_for, require_validation
from sightline.experiment.timm_loading import load_timm
from sightline.runs import History, RunFolder
from sightline.tasks import TASKS
from sightline.tasks.config import TaskConfig
from sightline.training.runtime import (
    gather_from_processes,
    keep_freed_memory,
    process,
    process_group,
    resolve_device,
    seed_everything,
)
from sightline.training.trainer import BaseTrainer

EXCLUDED_FILE = "excluded.csv"


def train(
    config: TaskConfig,
    *,
    command: Sequence[str],
    stages: Stages | None = None,
    resume: RunFolder | None = None,
    then: Callable[[RunFolder], None] | None = None,
) -> RunFolder:
    """Train as configured in a new run folder, or go on in an old one, and return it.

    The run ends as finished, stopped (a signal; Interrupted is raised) or failed (the error is
    raised); run.json, the log and metrics.jsonl say which. `stages` are recorded as what is to
    follow; `then` is called with the trained run in the first process, its log still open.
    """
    device = resolve_device(config.train.device)
    keep_freed_memory(device)
    load_timm()
    with contextlib.ExitStack() as record:
        with process_group(device) as here:
            dataset = _dataset_of(config, resume)
            config = TASKS[config.task].resolve(dataset, config)
            notes = TASKS[config.task].check_data(dataset, config)
            dataset = replace(dataset, notes=(*dataset.notes, *notes))
            require_validation(stages, dataset, config.data)
            config, measured = settle_batch_size(config, dataset, device)
            run = _shared_run(lambda: resume or create_run(config, command))
            if here.is_first:
                record.enter_context(recorded(run, config))
                if stages is not None:
                    ask_for(run, stages)
            for line in measured:
                first_says("BOOT")(line)
            with memory_errors_explained(config):
                _train_in(Session(config, TASKS[config.task], dataset, run, device))
        run = RunFolder.open(run.path)
        if here.is_first and then is not None:
            then(run)
    return RunFolder.open(run.path)


def _dataset_of(config: TaskConfig, resume: RunFolder | None) -> Dataset:
    if resume is not None and (resume.path / SPLITS_FILE).exists():
        return read_dataset(resume, config)
    return find_samples(config)


def _shared_run(make: Callable[[], RunFolder]) -> RunFolder:
    """The run that the first process makes, opened by all."""
    run = make() if process().is_first else None
    path = gather_from_processes(None if run is None else str(run.path))[0]
    return run or RunFolder.open(path)


def create_run(config: TaskConfig, command: Sequence[str]) -> RunFolder:
    """A new run folder for a configuration; only the first process may make it."""
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
    """Train the one part that is configured, or every fold that is not finished yet."""
    config, run = session.config, session.run
    for note in session.dataset.notes:
        first_says("DATA")(note)
    # The test is decoded too, so that an unreadable file is known now and not after training.
    seen = ("fit", "val", *session.task.test_splits)
    samples, left_out = open_samples(session.dataset.part(*seen), config)
    dataset = session.dataset.without(left_out)
    session = replace(session, dataset=dataset)
    first = process().is_first
    if first and not (run.path / SPLITS_FILE).exists():
        save_samples(dataset, config, run.path / SPLITS_FILE)
        if dataset.excluded:
            write_excluded(dataset.excluded, run.path / EXCLUDED_FILE, root=dataset.manifest.root)
    if first:
        record_changes(run, config)
        announce(session)
    for part in session.parts():
        if is_trained(part):
            first_says("FOLD")(f"fold {part.fold} was finished before")
        else:
            _train_part(part, samples)
    if first:
        conclude(session)


def _train_part(session: Session, samples: Samples) -> None:
    """Train on the fit split and choose by the val split of one session."""
    config, run, first = session.config, session.run, process().is_first
    manifest = samples.manifest
    if config.data.trains_every_fold and session.fold is not None:
        manifest = use_fold(manifest, session.fold)
    judged = session.task.validation_splits(session.dataset, config)
    fit_samples, val_samples = (samples.select(manifest.rows(*one)) for one in (("fit",), judged))
    fit_loader = loader_for(fit_samples, config, device=session.device, training=True)
    val_loader = loader_for(val_samples, config, device=session.device, training=False)

    history = History(run.metrics_file)
    latest = session.checkpoints / "latest_model.pth"
    trainer = _create_trainer(session, history, steps=len(fit_loader))
    if first:
        announce_part(session, trainer)
    if latest.exists():
        at = resume_training(trainer, latest, plain_tree(config.train))
        first_says("BOOT")(f"resumed after epoch {at['epoch']}, step {at['step']}")
    if first:
        history.truncate_after(trainer.progress.step, fold=session.fold)
    began = time.monotonic()
    trainer.fit(fit_loader, val_loader if len(val_samples) else None, config.train.epochs)
    if not config.train.epochs and not latest.exists():
        # Nothing was trained: what evaluate is to use are the weights the model began with.
        trainer.prepare()
        trainer.save_checkpoint(0, {})
    if first:
        conclude_part(session, trainer, seconds=time.monotonic() - began)


def _create_trainer(session: Session, history: History, *, steps: int) -> BaseTrainer:
    """The task's trainer over a new model; `steps` is the number of batches in an epoch."""
    config, dataset, task = session.config, session.dataset, session.task
    # Here and not earlier: how the data was read must not change the initial weights.
    seed_everything(config.project.seed)
    model = task.create_model(
        config,
        dataset.class_names,
        trained=(session.checkpoints / "latest_model.pth").exists(),
    )
    trainer = task.create_trainer(
        config,
        model,
        dataset=dataset,
        steps_per_epoch=-(-steps // config.train.accumulate_steps),
        checkpoint_dir=session.checkpoints,
        callbacks=observers(session, history) if process().is_first else (),
    )
    trainer.about = {
        "run": session.run.id,
        "task": config.task,
        "class_names": list(dataset.class_names),
        "fold": session.fold,
        "config": plain_tree(config),
    }
    return trainer
