"""What training is asked to do from outside its loop: to stop, or by a signal to leave."""

from __future__ import annotations

import signal

import torch

from sightline.errors import Interrupted
from sightline.training.distributed import agree
from sightline.training.progress import Progress
from sightline.training.runtime import process
from sightline.training.signals import SignalWatch


class Requests:
    """Stop requests and signals; in a run of several processes, what all of them know of both."""

    def __init__(self, device: torch.device) -> None:
        self.stop_reason: str | None = None
        self.watch = SignalWatch()
        self._device = device
        self._alone = process().count == 1
        self._others_leave = False

    def stop(self, reason: str) -> None:
        """Ask training to stop; the first reason counts."""
        self.stop_reason = self.stop_reason or reason or "no reason given"

    def agree(self, samples: int = 0) -> int:
        """Samples of the next step in all processes together, 0 when any was asked to stop.

        Here the processes learn of each other's requests, so all must call it at once.
        """
        if self._alone:
            return samples
        interrupted, stopped = self.watch.received is not None, self.stop_reason is not None
        agreed = agree(samples, interrupted=interrupted, stopped=stopped, device=self._device)
        self._others_leave = agreed.interrupted
        if agreed.stopped:
            self.stop("another process asked to stop")
        return agreed.samples

    @property
    def must_leave(self) -> bool:
        """Whether a signal came; with several processes, whether all of them know of it."""
        return self.watch.received is not None if self._alone else self._others_leave

    @property
    def may_leave_alone(self) -> bool:
        """Whether a signal came and there is no other process to tell."""
        return self._alone and self.watch.received is not None

    def interrupted(self, progress: Progress) -> Interrupted:
        """The error that says which signal came, here or elsewhere, and where training stands."""
        number = self.watch.received or signal.SIGTERM
        return Interrupted(
            f"Stopped by {number.name} in epoch {progress.epoch + 1} after step {progress.step}; "
            "everything up to there is saved.",
            exit_code=128 + number,
            remedy="continue with --resume",
        )
