"""Train and eval mode of each part of a model."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def set_training_mode(model: nn.Module, *, freeze_norm_statistics: bool = False) -> None:
    """Put a model into train mode, except for what must stay as in evaluation.

    In eval mode stay: each part that has parameters none of which is trained, with its dropout and
    BatchNorm layers; and, with `freeze_norm_statistics`, every BatchNorm layer (its scale and shift
    still learn) but those whose class says `starts_fresh`, which have no statistics to keep. Call
    it again after freezing, unfreezing or an evaluation.
    """
    model.train()
    _rest_frozen_parts(model)
    if freeze_norm_statistics:
        for module in model.modules():
            if isinstance(module, _BatchNorm) and not getattr(module, "starts_fresh", False):
                module.eval()


def _rest_frozen_parts(module: nn.Module) -> None:
    parameters = list(module.parameters())
    if parameters and not any(parameter.requires_grad for parameter in parameters):
        module.eval()
        return
    for child in module.children():
        _rest_frozen_parts(child)
