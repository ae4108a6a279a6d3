"""BaseTrainer: the one training loop under every task, meant to be read in one sitting.

fit: on_fit_start
  each epoch: on_train_epoch_start
    each batch: on_train_batch_start, training_step, on_train_batch_end (see BaseTrainer._step)
    on_train_epoch_end
    on_validation_epoch_start
    each batch: on_validation_batch_start, validation_step, on_validation_batch_end
    on_validation_epoch_end, save_checkpoint
  on_fit_end
"""

from __future__ import annotations

import contextlib
import inspect
import itertools
import math
import signal
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sightline.errors import Interrupted, TrainingError
from sightline.training import batches, state
from sightline.training.averaging import AveragedModel
from sightline.training.callbacks import Callback, Observers
from sightline.training.checkpoint import load_checkpoint_file, remove_partial_files
from sightline.training.distributed import DataParallelStep, only_first_process
from sightline.training.finite import non_finite_error
from sightline.training.hooks import TRAINER_HOOKS, StepInfo, TrainerHooks, refuse_unknown_hooks
from sightline.training.loader_position import EpochPosition
from sightline.training.modes import set_training_mode
from sightline.training.monitoring import higher_is_better, monitored_value
from sightline.training.optimization import Optimization, optimizer_plans
from sightline.training.progress import Progress, is_improvement
from sightline.training.runtime import (
    gather_from_processes,
    memory_mebibytes,
    process,
    random_state,
    resolve_device,
    resolve_precision,
    restore_random_state,
    sum_over_processes,
)
from sightline.training.settings import TrainerConfig
from sightline.training.signals import SignalWatch

Metrics = dict[str, float]

MOST_SKIPPED_STEPS = 20
"""Steps in a row that the fp16 scaler may leave out before that is an error."""


class BaseTrainer(TrainerHooks):
    """Trains a model whose author writes training_step, validation_step and configure_optimizers.

    `loss_fn` is any callable; a module with parameters is moved, saved and synchronised with the
    model. `about` is plain data saved with every checkpoint. Epochs and steps count from 1,
    batches from 0. A step method may leave out its second parameter.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        refuse_unknown_hooks(cls, TRAINER_HOOKS)

    def __init__(
        self,
        model: nn.Module,
        loss_fn: Any = None,
        device: str | torch.device = "auto",
        checkpoint_dir: str | Path = "checkpoints",
        *,
        config: TrainerConfig | None = None,
        callbacks: Sequence[Callback] = (),
    ) -> None:
        self.config = config or TrainerConfig()
        self.device = resolve_device(str(device))
        self.precision = resolve_precision(self.config.precision, self.device, amp=self.config.amp)
        self.model = model.to(self.device)
        self.loss_fn = loss_fn.to(self.device) if isinstance(loss_fn, nn.Module) else loss_fn
        self.checkpoint_dir = Path(checkpoint_dir)
        self.about: dict[str, Any] = {}
        self.history: list[dict[str, Any]] = []
        self.stop_reason: str | None = None

        self.progress = Progress()
        self.position = EpochPosition()
        self.optimization = Optimization()
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision.needs_scaler)
        self.average: AveragedModel | None = None

        self._on_accelerator = self.device.type != "cpu"
        self._autocast = self.precision.autocast(self.device)
        self._prepared = False
        self._is_last_epoch = False
        self._interrupted = False
        self._here = process()
        self._hooks = {
            name for name in TRAINER_HOOKS
            if getattr(type(self), name) is not getattr(TrainerHooks, name) or name in vars(self)
        }  # fmt: skip
        self._signals = SignalWatch()
        self._observers = Observers(callbacks)
        self._takes_index = {
            name: len(inspect.signature(getattr(self, name)).parameters) > 1
            for name in ("training_step", "validation_step")
        }
        modules = [one for one in (self.model, self.loss_fn) if isinstance(one, nn.Module)]
        self._parallel_step = DataParallelStep(
            lambda batch, index: self._call_step("training_step", batch, index), modules
        )

    # What a model's author writes.

    def training_step(self, batch: Any, batch_idx: int) -> dict[str, Any]:
        """Return a mapping with the scalar mean `loss` of the batch, and anything else by name."""
        raise NotImplementedError(f"{type(self).__name__} must define training_step")

    def validation_step(self, batch: Any, batch_idx: int) -> Any:
        """Return what compute_metrics needs of the batch; called without gradients."""
        raise NotImplementedError(f"{type(self).__name__} must define validation_step")

    def configure_optimizers(self) -> Any:
        """Return an optimizer, {"optimizer": ..., "scheduler": ...}, or a list of these."""
        raise NotImplementedError(f"{type(self).__name__} must define configure_optimizers")

    def compute_metrics(self, outputs: list[Any]) -> Metrics:
        """Metrics of a split from all its validation_step outputs; by default the mean `loss`."""
        losses = [one["loss"] for one in outputs if isinstance(one, Mapping) and "loss" in one]
        return {"loss": sum(float(loss) for loss in losses) / len(losses)} if losses else {}

    def finalize(self, loader: Iterable[Any]) -> None:
        """Fit what has a closed form (a memory bank, a projection), once, after the epochs."""

    def count_samples(self, batch: Any) -> int:
        """Samples in a batch, which weigh its loss."""
        return batches.batch_size(batch)

    # What everybody calls.

    def fit(
        self,
        train_loader: Iterable[Any],
        val_loader: Iterable[Any] | None = None,
        num_epochs: int = 1,
    ) -> list[dict[str, Any]]:
        """Train until num_epochs are finished (a resumed run has some already); the epochs' rows.

        SIGTERM and Ctrl-C save latest_model.pth after the step under way and raise Interrupted.
        """
        self._stop_if_patience_is_over()
        with self._signals:
            try:
                self.prepare(optimizers=num_epochs > 0)
                self._call("on_fit_start")
                self._tell("on_fit_start", num_epochs)
                while self.progress.epoch < num_epochs and self.stop_reason is None:
                    self._run_epoch(train_loader, val_loader, num_epochs)
                if type(self).finalize is not BaseTrainer.finalize:
                    self._run_finalize(train_loader, val_loader)
                self._call("on_fit_end")
                self._tell("on_fit_end", self.stop_reason)
            except BaseException as error:
                self.on_exception(error)
                self._tell("on_exception", error)
                raise
        return self.history

    def train_epoch(self, train_loader: Iterable[Any]) -> float:
        """Train one epoch without validation; the mean loss over its samples."""
        self.prepare()
        loss = self._train_batches(train_loader, None)
        self.progress.finish_epoch()
        return loss

    def validate_epoch(self, val_loader: Iterable[Any]) -> Metrics:
        """Metrics of the whole loader, with the averaged weights where there are any.

        Random numbers drawn here do not change what training draws afterwards.
        """
        self.prepare(optimizers=False)
        epoch = max(self.progress.epoch + (self.progress.batch > 0), 1)
        self._call("on_validation_epoch_start", epoch)
        self.model.eval()
        before = random_state()
        outputs = []
        weights = contextlib.nullcontext() if self.average is None else self.average.as_model()
        with weights, torch.no_grad():
            for index, batch in enumerate(val_loader):
                if self._on_accelerator:
                    batch = batches.to_device(batch, self.device)
                self._call("on_validation_batch_start", batch, index)
                with self._autocast:
                    output = self._call_step("validation_step", batch, index)
                self._call("on_validation_batch_end", batch, index, output)
                outputs.append(batches.to_cpu(output))
                if self._must_leave():
                    break
        restore_random_state(before)
        if self._must_leave():
            self._save_and_leave()
        parts = gather_from_processes(outputs)
        metrics = self.compute_metrics([output for part in parts for output in part])
        self._call("on_validation_epoch_end", epoch, metrics)
        return metrics

    def stop(self, reason: str) -> None:
        """Ask training to end after the step under way; its epoch is still validated and saved."""
        self.stop_reason = self.stop_reason or reason

    def save_checkpoint(self, epoch: int, metrics: Metrics) -> None:
        """Write latest_model.pth, best_model.pth if `_is_better`, and epoch_NNN.pth when due."""
        self.prepare(optimizers=False)
        best = self._is_better(metrics)
        if best:
            self.progress.best_value = monitored_value(self.config, metrics)
            self.progress.best_epoch = epoch
        interval = self.config.save_interval
        keep = interval > 0 and (self._is_last_epoch or epoch % interval == 0)

        def write() -> None:
            for path in state.write_epoch(self, epoch, metrics, best=best, keep=keep):
                self._tell("on_checkpoint", path, metrics)

        only_first_process(write)

    def load_checkpoint(self, path: str | Path) -> dict[str, Any]:
        """Restore everything a checkpoint holds and return its `about`, `epoch` and `metrics`."""
        saved = load_checkpoint_file(Path(path))
        self.prepare(optimizers=bool(saved.get("optimizers")))
        state.restore_training_state(self, saved, Path(path))
        return {key: saved[key] for key in ("about", "epoch", "step", "metrics")}

    # The loop.

    def prepare(self, *, optimizers: bool = True) -> None:
        """Lay out the model once, and make the optimizers when they are first needed."""
        if not self._prepared:
            self._prepared = True
            remove_partial_files(self.checkpoint_dir)
            if self.config.channels_last:
                self.model.to(memory_format=torch.channels_last)
            if self.config.ema_decay is not None:
                self.average = AveragedModel(self.model, self.config.ema_decay)
            if self.config.compile:
                self.model.compile()
            if self.config.deterministic:
                torch.use_deterministic_algorithms(True)
        if optimizers and not self.optimization.plans:
            self.optimization = Optimization(optimizer_plans(self.configure_optimizers()))

    def _run_epoch(
        self, train_loader: Iterable[Any], val_loader: Iterable[Any] | None, num_epochs: int
    ) -> None:
        started, samples_before = time.perf_counter(), self.progress.samples
        self._train_batches(train_loader, num_epochs)
        seconds, used = time.perf_counter() - started, self.progress.samples
        loss_sum, samples, fresh = sum_over_processes(
            [self.progress.loss_sum, used, used - samples_before], self.device
        )
        metrics = {} if val_loader is None else self.validate_epoch(val_loader)
        epoch = self.progress.finish_epoch()
        row = self._row(metrics, validated=val_loader is not None, started=started)
        row |= {"train_loss": loss_sum / samples, "images_per_s": fresh / seconds}
        self._finish_epoch(metrics, row, last=epoch == num_epochs)

    def _train_batches(self, loader: Iterable[Any], epochs: int | None) -> float:
        """Use the rest of the epoch's batches; the mean loss over its samples in this process."""
        progress = self.progress
        epoch = progress.epoch + 1
        self._call("on_train_epoch_start", epoch)
        set_training_mode(self.model, freeze_norm_statistics=self.config.freeze_norm_statistics)
        count = len(loader) if hasattr(loader, "__len__") else None
        iterator = self.position.iterate(loader, epoch, progress.batch)
        save_every, observed = self.config.save_every_steps, self._observers.listens("on_step")
        while self.stop_reason is None:
            group = list(itertools.islice(iterator, self.config.accumulate_steps))
            if not group:
                break
            loss = self._step(group)
            if observed:
                place = (epoch, epochs, progress.step, progress.batch, count, progress.samples)
                self._tell("on_step", StepInfo(*place, loss, self.optimization.learning_rate))
            if self._must_leave():
                self._save_and_leave()
            if save_every and progress.step % save_every == 0:
                only_first_process(lambda: state.write_latest(self, {}))
        if progress.batch == 0:
            raise TrainingError(
                "The training loader gave no batch.",
                expected="at least one batch in an epoch",
                remedy="check that the data is not empty and the batch size not too large",
            )
        mean_loss = progress.loss_sum / max(progress.samples, 1)
        self._call("on_train_epoch_end", epoch, mean_loss)
        return mean_loss

    def _step(self, group: list[Any]) -> float:
        """One optimizer step from an accumulation group of batches; the mean loss of its samples.

        Every sample weighs the same, so a short last batch or group is neither over- nor
        under-counted; in a run of several processes that holds for all of them together.
        """
        progress, optimization, scaler = self.progress, self.optimization, self.scaler
        sizes = [self.count_samples(batch) for batch in group]
        here = sum(sizes)
        everywhere = self._agree(here)
        optimization.before_step(progress.step)

        loss_sum, last = 0.0, len(group) - 1
        for number, (batch, size) in enumerate(zip(group, sizes, strict=True)):
            index = progress.batch + number
            if self._on_accelerator:
                batch = batches.to_device(batch, self.device)
            self._call("on_train_batch_start", batch, index)
            with self._autocast:
                outputs = self._parallel_step(batch, index, last=number == last)
            loss = _loss_of(outputs)
            weight = size * self._here.count / everywhere
            scaler.scale(loss if weight == 1 else loss * weight).backward()
            loss = loss.detach()
            loss_sum += loss.item() * size
            if number < last:
                self._call("on_train_batch_end", batch, index, outputs, loss)

        for optimizer in optimization.optimizers:
            scaler.unscale_(optimizer)
        self._clip_and_check(loss_sum / here, group)
        self._call("on_before_optimizer_step", progress.step + 1)
        for optimizer in optimization.optimizers:
            scaler.step(optimizer)
        if scaler.is_enabled():
            self._update_scaler(loss_sum / here, group)
        progress.step += 1
        progress.batch += len(group)
        progress.samples += here
        progress.loss_sum += loss_sum
        if self.average is not None:
            self.average.update(progress.step)
        optimization.after_step()
        self._call("on_train_batch_end", batch, index, outputs, loss)
        return loss_sum / here

    def _clip_and_check(self, loss: float, group: list[Any]) -> None:
        """Clip the gradients; raise NonFiniteError, before any weight changes, if not finite.

        With a gradient scaler non-finite gradients are expected now and then: it skips the step.
        """
        if self.config.grad_clip_norm is not None:
            finite = self.optimization.clip(self.config.grad_clip_norm)
        elif not self.scaler.is_enabled():
            finite = self.optimization.gradients_are_finite()
        else:
            finite = True
        if not math.isfinite(loss) or not (finite or self.scaler.is_enabled()):
            raise non_finite_error(loss, self.model, group, self.progress)

    def _update_scaler(self, loss: float, group: list[Any]) -> None:
        """Let the fp16 scaler adapt; too many steps left out in a row are an error."""
        before = self.scaler.get_scale()
        self.scaler.update()
        skipped = self.scaler.get_scale() < before
        self.progress.skipped_steps = self.progress.skipped_steps + 1 if skipped else 0
        if self.progress.skipped_steps >= MOST_SKIPPED_STEPS:
            raise non_finite_error(loss, self.model, group, self.progress)

    def _run_finalize(self, train_loader: Iterable[Any], val_loader: Iterable[Any] | None) -> None:
        """Fit the closed-form part, then judge and save it like an epoch."""
        started = time.perf_counter()
        self.model.eval()
        with torch.no_grad():
            self.finalize(train_loader)
        metrics = {} if val_loader is None else self.validate_epoch(val_loader)
        row = self._row(metrics, validated=val_loader is not None, started=started)
        self._finish_epoch(metrics, row, last=True)

    def _row(self, metrics: Metrics, *, validated: bool, started: float) -> dict[str, Any]:
        """What metrics.jsonl says of an epoch."""
        return {
            "epoch": self.progress.epoch,
            "step": self.progress.step,
            "split": "val" if validated else None,
            "train_loss": None,
            "valid_loss": metrics.get("loss"),
            **{name: value for name, value in metrics.items() if name != "loss"},
            "lr": self.optimization.learning_rate,
            "time_s": time.perf_counter() - started,
            **memory_mebibytes(self.device),
        }

    def _finish_epoch(self, metrics: Metrics, row: dict[str, Any], *, last: bool) -> None:
        """Judge the epoch, tell the observers, move the schedules, write the checkpoints."""
        value = monitored_value(self.config, metrics)
        self.progress.count_improvement(
            value,
            higher=higher_is_better(self.config),
            min_delta=self.config.early_stopping_min_delta,
        )
        self._stop_if_patience_is_over()
        self.optimization.after_epoch(value)
        self.history.append(row)
        self._tell("on_epoch_end", row)
        self._is_last_epoch = last or self.stop_reason is not None
        self.save_checkpoint(self.progress.epoch, metrics)

    # Small parts of the loop.

    def _is_better(self, metrics: Metrics) -> bool:
        """Whether these metrics beat the best so far; without any value, the last epoch is best."""
        value = monitored_value(self.config, metrics)
        if value is None:
            return True
        return is_improvement(value, self.progress.best_value, higher=higher_is_better(self.config))

    def _stop_if_patience_is_over(self) -> None:
        patience = self.config.early_stopping_patience
        waited = self.progress.epochs_without_improvement
        if patience is not None and waited >= patience:
            self.stop(f"no improvement of {self.config.monitor or 'loss'} for {waited} epochs")

    def _agree(self, samples: int) -> int:
        """Samples of this step in all processes together; they also agree on whether to end."""
        if self._here.count == 1:
            return samples
        flags = [float(bool(self._signals.received)), float(self.stop_reason is not None)]
        total, interrupted, stopped = sum_over_processes([samples, *flags], self.device)
        self._interrupted = interrupted > 0
        if stopped:
            self.stop("another process asked to stop")
        return int(total)

    def _must_leave(self) -> bool:
        """Whether a signal came; with several processes, whether all of them know."""
        return bool(self._signals.received) if self._here.count == 1 else self._interrupted

    def _save_and_leave(self) -> None:
        """Write latest_model.pth where training stands and raise Interrupted."""
        only_first_process(lambda: state.write_latest(self, {}))
        number = self._signals.received or signal.SIGTERM
        raise Interrupted(
            f"Stopped by {number.name} in epoch {self.progress.epoch + 1} "
            f"after step {self.progress.step}; everything up to there is saved.",
            exit_code=128 + number,
            remedy="continue with --resume",
        )

    def _call(self, hook: str, *values: Any) -> None:
        """Call one of the trainer's own hooks; StopIteration raised there ends training cleanly."""
        if hook not in self._hooks:
            return
        try:
            getattr(self, hook)(*values)
        except StopIteration as request:
            self.stop(str(request) or f"{hook} raised StopIteration")

    def _tell(self, event: str, *values: Any) -> None:
        request = self._observers.tell(event, *values)
        if request is not None:
            self.stop(request.reason)

    def _call_step(self, name: str, batch: Any, index: int) -> Any:
        step = getattr(self, name)
        return step(batch, index) if self._takes_index[name] else step(batch)


def _loss_of(outputs: Any) -> torch.Tensor:
    """The loss in what training_step returned; anything else is an error that shows the form."""
    loss = outputs.get("loss") if isinstance(outputs, Mapping) else None
    if not isinstance(loss, torch.Tensor) or loss.ndim != 0 or not loss.requires_grad:
        raise TrainingError(
            "training_step did not return a loss that can be minimised.",
            expected='a mapping with "loss": a scalar tensor that depends on trainable parameters',
            got=f"{type(outputs).__name__} with loss {loss!r:.60}",
            remedy="return the mean loss of the batch; check that not every parameter is frozen",
        )
    return loss
