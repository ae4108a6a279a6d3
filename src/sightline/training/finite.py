"""The check that keeps NaN and infinity out of the weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from sightline.errors import NonFiniteError
from sightline.training.batches import sample_ids
from sightline.training.progress import Progress


class FiniteCheck:
    """Tells whether gradients are finite, in one fused pass per device.

    The pass is the one torch's gradient scaler makes, with a scale of one. Its two scalars are
    kept between calls, because making them would cost more than the pass of a small model.
    """

    def __init__(self, devices: set[torch.device]) -> None:
        self._scalars = [
            (device, torch.zeros(1, device=device), torch.ones(1, device=device))
            for device in devices
        ]

    def __call__(self, tensors: list[torch.Tensor]) -> bool:
        """Whether no value of any tensor, all on these devices, is NaN or infinite."""
        if not tensors:
            return True
        try:
            return self._all_finite(tensors)
        except NotImplementedError:  # sparse gradients have no such pass, but their values have
            return self._all_finite([t._values() if t.is_sparse else t for t in tensors])

    def _all_finite(self, tensors: list[torch.Tensor]) -> bool:
        alone = len(self._scalars) == 1
        for device, found, unit in self._scalars:
            here = tensors if alone else [t for t in tensors if t.device == device]
            if not here:
                continue
            torch._amp_foreach_non_finite_check_and_unscale_(here, found, unit)
            if found.item():
                found.zero_()
                return False
        return True


def non_finite_error(
    loss: float, modules: Sequence[nn.Module], group: list[Any], progress: Progress
) -> NonFiniteError:
    """The error that names the step, the tensors and the samples of a non-finite step."""
    named = [
        name
        for module in modules
        for name, parameter in module.named_parameters()
        if parameter.grad is not None and not _is_finite(parameter.grad)
    ]
    if math.isfinite(loss):
        got = f"finite loss {loss:.4g} but non-finite gradients of {_first(named)}"
    else:
        got = f"loss {loss}"
    ids = [one for batch in group for one in sample_ids(batch)]
    samples = f", samples {_first(ids)}" if ids else ""
    last = progress.batch + len(group) - 1
    return NonFiniteError(
        f"Step {progress.step + 1} is not finite; the weights are those of the step before.",
        expected="a finite loss and finite gradients",
        got=got,
        where=f"epoch {progress.epoch + 1}, batch {progress.batch}..{last}{samples}",
        remedy="lower train.lr, set train.grad_clip_norm=1, use train.amp=false, "
        "or look at those samples with `sightline check`",
    )


def _is_finite(tensor: torch.Tensor) -> bool:
    return bool(torch.isfinite(tensor._values() if tensor.is_sparse else tensor).all())


def _first(names: list[str], most: int = 6) -> str:
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest
