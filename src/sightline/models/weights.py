"""Weights from a local file into a backbone, with an account of every tensor."""

from __future__ import annotations

import sys
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sightline.errors import CheckpointError
from sightline.models.pooling import GeMPooling
from sightline.models.tensor_files import few_names, read_tensors

State = dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class WeightsReport:
    """What became of each tensor of a weights file and of the backbone, by name."""

    loaded: tuple[str, ...]
    """Tensors copied into the backbone."""
    missing: tuple[str, ...]
    """Tensors of the backbone the file has not; they keep their random start."""
    unexpected: tuple[str, ...]
    """Tensors of the file the backbone has not."""
    shape_mismatch: tuple[str, ...]
    """Tensors both have in different shapes, as `name: file (..) backbone (..)`."""
    dropped: tuple[str, ...]
    """Classifier tensors of the file, left out because the task brings its own head."""
    unused: tuple[str, ...] = ()
    """Tensors of the file for layers of this model that the task does not need."""

    def summary(self) -> str:
        """One line with the counts, for a log."""
        return (
            f"loaded={len(self.loaded)} missing={len(self.missing)} "
            f"unexpected={len(self.unexpected)} classifier_dropped={len(self.dropped)}"
        ) + (f" unused={len(self.unused)}" if self.unused else "")


def load_weights(
    backbone: nn.Module, file: Path, *, partial: bool = False, unneeded: Collection[str] = ()
) -> WeightsReport:
    """Copy the tensors of a file into a timm backbone and report on each.

    Takes a plain state dict, or one under `state_dict`, `model` or `model_state_dict`; prefixes
    `module.` and `backbone.` are removed, and timm's own conversion of the model family (older
    names, other position grids) is used where names or shapes differ. Running counters of BatchNorm
    may be absent. With `partial`, tensors may be missing or left over, but shapes must agree.
    `unneeded` names tensors of the whole model that were cut from this backbone; a file may hold
    them or not.
    Nothing is copied when an error is raised: ConfigError for a file that is not there,
    CheckpointError for one that cannot be read or does not fit.
    """
    source = read_tensors(file)
    state, others = _strip_prefixes(source)
    needed = {name: tensor for name, tensor in state.items() if name not in unneeded}
    if not _fits(backbone, _without_classifier(backbone, needed)[0]):
        state = _converted(backbone, state, file)
    state, dropped = _without_classifier(backbone, state)
    unused = tuple(name for name in state if name in unneeded)
    state = {name: tensor for name, tensor in state.items() if name not in unneeded}
    report = replace(_compare(backbone, state, dropped=(*dropped, *others)), unused=unused)
    _require_usable(report, file, backbone=backbone, partial=partial)
    chosen = {name: state[name] for name in report.loaded}
    broken = [name for name, tensor in chosen.items() if not bool(torch.isfinite(tensor).all())]
    if broken:
        raise CheckpointError(
            "The weights hold NaN or infinity.",
            got=few_names(broken),
            where=file,
            remedy="take an earlier checkpoint of the run that wrote this file",
        )
    backbone.load_state_dict(chosen, strict=False)
    return report


def _strip_prefixes(state: State) -> tuple[State, tuple[str, ...]]:
    """The backbone's tensors without prefix, and the names of a whole model's other tensors."""
    if all(name.startswith("module.") for name in state):
        state = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    inside = {name: tensor for name, tensor in state.items() if name.startswith("backbone.")}
    if not inside:
        return state, ()
    stripped = {name.removeprefix("backbone."): tensor for name, tensor in inside.items()}
    return stripped, tuple(name for name in state if name not in inside)


def _without_classifier(backbone: nn.Module, state: State) -> tuple[State, tuple[str, ...]]:
    """The state less the tensors of the file's own classifier, and their names."""
    config: Any = getattr(backbone, "pretrained_cfg", None) or {}
    named = config.get("classifier") or ()
    prefixes = tuple(f"{name}." for name in ([named] if isinstance(named, str) else named))
    own = set(backbone.state_dict())
    dropped = tuple(n for n in state if prefixes and n.startswith(prefixes) and n not in own)
    return {name: tensor for name, tensor in state.items() if name not in dropped}, dropped


def _converted(backbone: nn.Module, state: State, file: Path) -> State:
    """The state after timm's conversion for this family of models, where it has one."""
    convert = getattr(sys.modules[type(backbone).__module__], "checkpoint_filter_fn", None)
    if convert is None:
        return state
    try:
        return dict(convert(dict(state), backbone))
    except (
        KeyError,
        ValueError,
        RuntimeError,
        AttributeError,
        AssertionError,
        IndexError,
    ) as error:
        raise CheckpointError(
            "The weights do not belong to this backbone.",
            expected=f"names like {few_names(backbone.state_dict())}",
            got=few_names(state),
            where=file,
            remedy="set model.name to the model the file was made from",
        ) from error


def _fits(backbone: nn.Module, state: State) -> bool:
    report = _compare(backbone, state, dropped=())
    return not (report.missing or report.unexpected or report.shape_mismatch)


def _compare(backbone: nn.Module, state: State, *, dropped: tuple[str, ...]) -> WeightsReport:
    own = backbone.state_dict()
    shared = [name for name in own if name in state]
    wrong = [name for name in shared if own[name].shape != state[name].shape]
    modules = backbone.named_modules()
    learnt_pooling = [f"{name}.exponent" for name, part in modules if isinstance(part, GeMPooling)]
    optional = (".num_batches_tracked", *learnt_pooling)
    return WeightsReport(
        loaded=tuple(name for name in shared if name not in wrong),
        missing=tuple(name for name in own if name not in state and not name.endswith(optional)),
        unexpected=tuple(name for name in state if name not in own),
        shape_mismatch=tuple(
            f"{name}: file {tuple(state[name].shape)} backbone {tuple(own[name].shape)}"
            for name in wrong
        ),
        dropped=dropped,
    )


def _require_usable(
    report: WeightsReport, file: Path, *, backbone: nn.Module, partial: bool
) -> None:
    """Raise CheckpointError unless the report is one to go on with."""
    other = "set model.name to the model the file was made from"
    accept = f"{other}, or set model.weights_partial=true to go on with a random start for the rest"
    if "fc_norm.weight" in report.missing:
        accept = "set model.pooling=token, which these weights were trained with, or " + accept
    expected, remedy = f"names like {few_names(backbone.state_dict())}", other
    if not report.loaded:
        what, got = "No tensor of the weights file fits the backbone.", report.unexpected
    elif report.shape_mismatch:
        what = f"{len(report.shape_mismatch)} tensors of the weights file have another shape."
        expected, got = "the shapes of the backbone", report.shape_mismatch
    elif report.missing and not partial:
        what = f"The weights file lacks {len(report.missing)} tensors of the backbone."
        expected, got, remedy = f"also {few_names(report.missing)}", report.loaded, accept
    elif report.unexpected and not partial:
        what = f"The weights file holds {len(report.unexpected)} tensors the backbone has not."
        got, remedy = report.unexpected, accept
    else:
        return
    raise CheckpointError(
        what, expected=expected, got=few_names(got) or "none", where=file, remedy=remedy
    )
