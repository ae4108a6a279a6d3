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
import itertools
import math
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import nn

from sightline.training import batches, forms, monitoring, runtime, state
from sightline.training.averaging import AveragedModel
from sightline.training.callbacks import Callback, Observers
from sightline.training.checkpoint import load_checkpoint_file, remove_partial_files
from sightline.training.distributed import DataParallelStep, share
from sightline.training.finite import non_finite_error
from sightline.training.hooks import (
    TRAINER_HOOKS,
    StepInfo,
    TrainerHooks,
    overridden_hooks,
    refuse_unknown_hooks,
)
from sightline.training.loader_position import EpochPosition
from sightline.training.modes import set_training_mode
from sightline.training.optimization import Optimization, optimizer_plans
from sightline.training.progress import Progress
from sightline.training.requests import Requests
from sightline.training.settings import TrainerConfig

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
        self.device = runtime.resolve_device(str(device))
        self.precision = runtime.resolve_precision(
            self.config.precision, self.device, amp=self.config.amp
        )
        self.model = model.to(self.device)
        self.loss_fn = loss_fn.to(self.device) if isinstance(loss_fn, nn.Module) else loss_fn
        self.checkpoint_dir = Path(checkpoint_dir)
        self.about: dict[str, Any] = {}
        self.history: list[dict[str, Any]] = []
        self.metrics: Metrics = {}

        self.progress = Progress()
        self.position = EpochPosition()
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision.needs_scaler)
        self.optimization = Optimization((), self.scaler)
        self.average: AveragedModel | None = None

        self._on_accelerator = self.device.type != "cpu"
        self._autocast = self.precision.autocast(self.device)
        self._prepared = False
        self._is_last_epoch = False
        self._here = runtime.process()
        self._hooks = overridden_hooks(self)
        self._requests = Requests(self.device)
        self._observers = Observers(callbacks)
        self._takes_index = {
            name: forms.takes_two(getattr(self, name))
            for name in ("training_step", "validation_step")
        }
        self._modules = [one for one in (self.model, loss_fn) if isinstance(one, nn.Module)]
        self._parallel_step = DataParallelStep(self._training_step, self._modules)
        self._validation_sizes: list[int] = []

    # What a model's author writes.

    def training_step(self, batch: Any, batch_idx: int) -> dict[str, Any]:
        """Return a mapping with the scalar mean `loss` of the batch, and anything else by name.

        Under `parts` a mapping of names to scalars, means over the batch (parts of the loss, a
        training accuracy): their means over the epoch are `train_NAME` in its row.
        """
        raise NotImplementedError(f"{type(self).__name__} must define training_step")

    def validation_step(self, batch: Any, batch_idx: int) -> Any:
        """Return what compute_metrics needs of the batch; called without gradients."""
        raise NotImplementedError(f"{type(self).__name__} must define validation_step")

    def configure_optimizers(self) -> Any:
        """Return an optimizer, {"optimizer": ..., "scheduler": ...}, or a list of these."""
        raise NotImplementedError(f"{type(self).__name__} must define configure_optimizers")

    def compute_metrics(self, outputs: list[Any]) -> Metrics:
        """Metrics of a split from all its validation_step outputs; by default the mean `loss`.

        In validate_epoch every sample weighs the same in that mean, else every output.
        """
        return forms.mean_loss(outputs, self._validation_sizes)

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
        self._requests.stop_reason, self._is_last_epoch = None, False
        with self._requests.watch:
            try:
                self.prepare(optimizers=num_epochs > 0)
                self._stop_if_patience_is_over()
                self._call("on_fit_start")
                self._tell("on_fit_start", num_epochs)
                while self.progress.epoch < num_epochs and not self._ends():
                    self._run_epoch(train_loader, val_loader, num_epochs)
                if type(self).finalize is not BaseTrainer.finalize:
                    self._run_finalize(train_loader, val_loader)
                if self._ends() and not self._is_last_epoch:
                    self._save_after_late_request()
                self._call("on_fit_end")
                self._tell("on_fit_end", self.stop_reason)
            except BaseException as error:
                self._call("on_exception", error)
                self._tell("on_exception", error)
                raise
        return self.history

    def train_epoch(self, train_loader: Iterable[Any]) -> float:
        """Train one epoch without validation; the mean loss over its samples."""
        self._requests.stop_reason = None
        self.prepare()
        loss = self._train_batches(train_loader, None)
        if self.progress.batch > 0:
            self.progress.finish_epoch()
        return loss

    def validate_epoch(self, val_loader: Iterable[Any]) -> Metrics:
        """Metrics of the whole loader, with the averaged weights where there are any.

        Random numbers drawn here do not change what training draws afterwards.
        """
        self.prepare(optimizers=False)
        epoch = max(self.progress.epoch + (self.progress.batch > 0), 1)
        self._call("on_validation_epoch_start", epoch)
        for module in self._modules:
            module.eval()
        share([self.model], buffers_only=True)
        before = runtime.random_state()
        outputs, sizes = [], []
        counts = type(self).compute_metrics is BaseTrainer.compute_metrics
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
                sizes.append(self.count_samples(batch) if counts else 0)
                if self._requests.may_leave_alone:
                    break
        runtime.restore_random_state(before)
        self._leave_if_asked()
        parts = runtime.gather_from_processes((outputs, sizes))
        outputs = [output for part, _ in parts for output in part]
        if not outputs:
            raise forms.empty_loader_error("validation")
        self._validation_sizes = [size for _, part in parts for size in part if counts]
        metrics = forms.checked_metrics(self.compute_metrics(outputs))
        self._call("on_validation_epoch_end", epoch, metrics)
        return metrics

    def stop(self, reason: str) -> None:
        """Ask training to end after the step under way; its epoch is still validated and saved."""
        self._requests.stop(reason)

    @property
    def stop_reason(self) -> str | None:
        """Why training was asked to stop; None while it was not."""
        return self._requests.stop_reason

    def save_checkpoint(self, epoch: int, metrics: Metrics) -> None:
        """Write latest_model.pth, best_model.pth if `_is_better`, and epoch_NNN.pth when due."""
        self.prepare(optimizers=False)
        self.metrics = forms.checked_metrics(metrics)
        best = self._is_better(self.metrics)
        if best:
            self.progress.best_value = self.metrics.get(self.config.monitor or "loss")
            self.progress.best_epoch = epoch
        interval = self.config.save_interval
        keep = interval > 0 and (self._is_last_epoch or epoch % interval == 0)
        self._report(state.write_epoch(self, epoch, self.metrics, best=best, keep=keep))

    def load_checkpoint(self, path: str | Path) -> dict[str, Any]:
        """Restore everything a checkpoint holds and return its `about`, `epoch` and `metrics`."""
        saved = load_checkpoint_file(Path(path))
        self.prepare(optimizers=bool(saved.get("optimizers")))
        state.restore_training_state(self, saved, Path(path))
        return {key: saved[key] for key in ("about", "epoch", "step", "metrics")}

    # The loop.

    def prepare(self, *, optimizers: bool = True) -> None:
        """Lay out the model once, and make the optimizers when they are first needed."""
        self._hooks = overridden_hooks(self)
        if not self._prepared:
            self._prepared = True
            if self._here.is_first:
                remove_partial_files(self.checkpoint_dir)
            share(self._modules)
            if self.config.channels_last:
                self.model.to(memory_format=torch.channels_last)
            if self.config.ema_decay is not None:
                self.average = AveragedModel(self.model, self.config.ema_decay)
            if self.config.compile:
                self.model.compile()
            if self.config.deterministic:
                torch.use_deterministic_algorithms(True)
        if optimizers and not self.optimization.plans:
            self.optimization = Optimization(
                optimizer_plans(self.configure_optimizers()), self.scaler
            )

    def _run_epoch(
        self, train_loader: Iterable[Any], val_loader: Iterable[Any] | None, num_epochs: int
    ) -> None:
        started, samples_before = time.perf_counter(), self.progress.samples
        loss = self._train_batches(train_loader, num_epochs)
        if self.progress.batch == 0:
            return
        parts = self._mean_parts()
        seconds, here = time.perf_counter() - started, self.progress.samples - samples_before
        samples = runtime.sum_over_processes([here], self.device)[0]
        metrics = None if val_loader is None else self.validate_epoch(val_loader)
        epoch = self.progress.finish_epoch()
        value = monitoring.judge(self.config, self.progress, metrics)
        self._stop_if_patience_is_over()
        self.optimization.after_epoch(value)
        speed = {"train_loss": loss, **parts, "images_per_s": samples / seconds}
        self._finish_epoch(metrics, started=started, last=epoch == num_epochs, **speed)

    def _train_batches(self, loader: Iterable[Any], epochs: int | None) -> float:
        """Use the rest of the epoch's batches; the mean loss over its samples.

        NaN when training was asked to stop before the first of them.
        """
        progress = self.progress
        epoch = progress.epoch + 1
        self._call("on_train_epoch_start", epoch)
        for module in self._modules:
            set_training_mode(module, freeze_norm_statistics=self.config.freeze_norm_statistics)
        count = forms.length_of(loader)
        iterator = self.position.iterate(loader, epoch, progress.batch)
        save_every, observed = self.config.save_every_steps, self._observers.listens("on_step")
        while True:
            group = []
            if self.stop_reason is None:
                group = list(itertools.islice(iterator, self.config.accumulate_steps))
            sizes = [self.count_samples(batch) for batch in group]
            samples = self._requests.agree(sum(sizes))
            if not samples:
                break
            loss = self._step(group, sizes, samples)
            if observed:
                place = (epoch, epochs, progress.step, progress.batch, count, progress.samples)
                self._tell("on_step", StepInfo(*place, loss, self.optimization.learning_rate))
            if self._requests.must_leave:
                self._save_and_leave()
            if save_every and progress.step % save_every == 0:
                self._save_latest()
        if progress.batch == 0:
            if self.stop_reason is None:
                raise forms.empty_loader_error("training")
            return math.nan
        total, used = runtime.sum_over_processes([progress.loss_sum, progress.samples], self.device)
        self._call("on_train_epoch_end", epoch, total / used)
        return total / used

    def _step(self, group: list[Any], sizes: list[int], samples: int) -> float:
        """One optimizer step from an accumulation group of batches; the mean loss of its samples.

        `samples` counts those of all processes. Every sample weighs the same, so a short last
        batch or group is neither over- nor under-counted.
        """
        progress, optimization = self.progress, self.optimization
        optimization.before_step(progress.step)
        loss_sum, last = 0.0, len(group) - 1
        for number, batch in enumerate(group):
            index = progress.batch + number
            if self._on_accelerator:
                batch = batches.to_device(batch, self.device)
            self._call("on_train_batch_start", batch, index)
            with self._autocast:
                outputs = self._parallel_step(batch, index, last=number == last)
            loss = forms.loss_of(outputs)
            weight = sizes[number] * self._here.count / samples
            optimization.backward(loss if weight == 1 else loss * weight)
            loss = loss.detach()
            loss_sum += loss.item() * sizes[number]
            progress.add_parts(forms.parts_of(outputs), sizes[number])
            if number < last:
                self._call("on_train_batch_end", batch, index, outputs, loss)

        step_loss = loss_sum / sum(sizes)
        optimization.unscale()
        if not (optimization.clip(self.config.grad_clip_norm) and math.isfinite(step_loss)):
            raise non_finite_error(step_loss, self._modules, group, progress)
        self._call("on_before_optimizer_step", progress.step + 1)
        progress.skipped_steps = 0 if optimization.step() else progress.skipped_steps + 1
        if progress.skipped_steps >= MOST_SKIPPED_STEPS:
            raise non_finite_error(step_loss, self._modules, group, progress)
        progress.step += 1
        progress.batch += len(group)
        progress.samples += sum(sizes)
        progress.loss_sum += loss_sum
        if self.average is not None:
            self.average.update(progress.step)
        optimization.after_step()
        self._call("on_train_batch_end", batch, index, outputs, loss)
        return step_loss

    def _mean_parts(self) -> Metrics:
        """The mean over this epoch's samples, of all processes, of each part of the loss."""
        names, progress = sorted(self.progress.part_sums), self.progress
        sums = [progress.part_sums[name] for name in names]
        *totals, used = runtime.sum_over_processes([*sums, progress.samples], self.device)
        return {f"train_{name}": total / used for name, total in zip(names, totals, strict=True)}

    def _run_finalize(self, train_loader: Iterable[Any], val_loader: Iterable[Any] | None) -> None:
        """Fit the closed-form part, then judge and save the whole; it replaces an earlier best."""
        started = time.perf_counter()
        for module in self._modules:
            module.eval()
        weights = contextlib.nullcontext() if self.average is None else self.average.as_model()
        with weights, torch.no_grad():
            self.finalize(train_loader)
        metrics = None if val_loader is None else self.validate_epoch(val_loader)
        monitoring.monitored_value(self.config, metrics)
        self.progress.best_value = None
        self._finish_epoch(metrics, started=started, last=True)

    def _finish_epoch(
        self, metrics: Metrics | None, *, started: float, last: bool, **speed: float
    ) -> None:
        """Tell the observers what came of an epoch, then write the checkpoints."""
        row = monitoring.epoch_row(
            self.progress,
            metrics,
            lr=self.optimization.learning_rate,
            time_s=time.perf_counter() - started,
            **speed,
            **runtime.memory_mebibytes(self.device),
        )
        self.history.append(row)
        self._tell("on_epoch_end", MappingProxyType(row))
        self._requests.agree()
        self._is_last_epoch = last or self.stop_reason is not None
        self.save_checkpoint(self.progress.epoch, metrics or {})

    # Small parts of the loop.

    def _is_better(self, metrics: Metrics) -> bool:
        """Whether these metrics beat the best so far; without any value, the last epoch is best."""
        return monitoring.is_best(self.config, self.progress, metrics)

    def _stop_if_patience_is_over(self) -> None:
        reason = monitoring.why_patience_is_over(self.config, self.progress)
        if reason is not None:
            self.stop(reason)

    def _leave_if_asked(self) -> None:
        self._requests.agree()
        if self._requests.must_leave:
            self._save_and_leave()

    def _ends(self) -> bool:
        """Whether training was asked to stop; after a signal, save and leave at once."""
        self._leave_if_asked()
        return self.stop_reason is not None

    def _save_latest(self) -> None:
        self._report(state.write_latest(self))

    def _save_and_leave(self) -> None:
        """Write latest_model.pth where training stands and raise Interrupted."""
        self._save_latest()
        raise self._requests.interrupted(self.progress)

    def _save_after_late_request(self) -> None:
        """Save as the last an epoch that was saved before training was asked to stop, if any."""
        if self.progress.epoch == 0:
            self._save_latest()
        else:
            self._is_last_epoch = True
            self._report(state.write_last(self, keep=self.config.save_interval > 0))

    def _report(self, written: list[Path]) -> None:
        for path in written:
            self._tell("on_checkpoint", path, MappingProxyType(self.metrics))

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

    def _training_step(self, batch: Any, index: int) -> Any:
        return self._call_step("training_step", batch, index)

    def _call_step(self, name: str, batch: Any, index: int) -> Any:
        step = getattr(self, name)
        return step(batch, index) if self._takes_index[name] else step(batch)
