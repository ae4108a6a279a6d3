"""Reads what any detector says of any loader, whatever forms the two have.

B images of H x W; scores (B,) and maps (B, H, W) are higher where more is wrong; labels (B,) are 0
for normal and anything else for anomalous; masks (B, H, W) are not 0 where there is a defect.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from sightline.errors import DataError
from sightline.training.batches import to_cpu, to_device

SCORE_NAMES = ("score", "scores", "pred_score", "anomaly_score")
MAP_NAMES = ("map", "maps", "anomaly_map", "anomaly_maps")
IMAGE_NAMES = ("image", "images")
LABEL_NAMES = ("label", "labels")
MASK_NAMES = ("mask", "masks")
_MISSING = object()


class Scored(NamedTuple):
    """What a model says of a batch."""

    scores: Any
    """(B,)"""
    maps: Any = None
    """(B, H, W), or None."""


def scored(output: Any) -> Scored:
    """Scores and maps in what a model returned; DataError, with the forms, for anything else."""
    if isinstance(output, torch.Tensor | np.ndarray):
        return _of_tensor(torch.as_tensor(output))
    # Absent and None are the same: some outputs name a map that their model does not give.
    scores, maps = (
        None if (one := _named(output, names)) is _MISSING else one
        for names in (SCORE_NAMES, MAP_NAMES)
    )
    if scores is None and maps is None:
        raise _form_error(type(output).__name__)
    found = Scored(None) if maps is None else _of_tensor(torch.as_tensor(maps))
    if maps is not None and found.maps is None:
        raise _form_error(f"a map of shape {tuple(torch.as_tensor(maps).shape)}")
    return found if scores is None else found._replace(scores=torch.as_tensor(scores))


def _of_tensor(output: torch.Tensor) -> Scored:
    """Scores (B,) or (B, 1), or maps (B, H, W) or (B, 1, H, W) with the maximum as the score."""
    if output.ndim == 4 and output.shape[1] == 1:
        output = output[:, 0]
    if output.ndim == 3:
        return Scored(output.flatten(1).amax(dim=1), output)
    if output.ndim in (1, 2) and output.numel() == len(output):
        return Scored(output)
    raise _form_error(f"a tensor of shape {tuple(output.shape)}")


def _form_error(got: str) -> DataError:
    return DataError(
        "The model returned another form than evaluate can read.",
        expected="scores (B,), maps (B, H, W), or a mapping or object with "
        f"{' or '.join(SCORE_NAMES)}, and {' or '.join(MAP_NAMES)}",
        got=got,
        remedy="give evaluate an adapter=function that returns Scored(scores, maps)",
    )


class ScoredRows(NamedTuple):
    """Every image of a loader, in its order."""

    scores: npt.NDArray[np.float64]
    labels: npt.NDArray[np.int64]
    maps: npt.NDArray[np.float32] | None
    masks: npt.NDArray[np.bool_] | None


def rows_of(
    model: nn.Module,
    loader: Iterable[Any],
    device: torch.device,
    read: Callable[[Any], Scored],
    *,
    progress: bool,
) -> ScoredRows:
    """What the model says of every image of a loader, beside what is true."""
    # Of each part: a frozen teacher may rest in eval mode inside a model that is in train mode.
    modes = [(module, module.training) for module in model.modules()]
    model.to(device).eval()
    parts: list[ScoredRows] = []
    try:
        with torch.no_grad():
            for batch in _shown(loader, progress):
                images, labels, masks = _parts_of(batch)
                found = to_cpu(read(model(to_device(images, device))))
                parts.append(_rows(found, labels, masks, number=len(parts)))
    finally:
        for module, was_training in modes:
            module.training = was_training
    empty: tuple[npt.NDArray[Any], ...] = (np.zeros(0), np.zeros(0, np.int64))
    scores, labels = (np.concatenate([one[n] for one in parts] or [empty[n]]) for n in (0, 1))
    return ScoredRows(scores, labels, _joined(parts, "maps"), _joined(parts, "masks"))


def _rows(found: Scored, labels: Any, masks: Any, *, number: int) -> ScoredRows:
    """The rows of a batch; DataError unless each image has one score, and a map if any has."""
    scores, truth = _as_array(found.scores, np.float64).reshape(-1), _as_labels(labels)
    maps = None if found.maps is None else _as_array(found.maps, np.float32)
    for what, one in (("score", scores), ("map", maps)):
        if one is not None and len(one) != len(truth):
            raise DataError(
                f"The model did not return one {what} for each image.",
                expected=f"{len(truth)} {what}s, one for each label",
                got=len(one),
                where=f"batch {number}",
            )
    return ScoredRows(scores, truth, maps, None if masks is None else _as_masks(masks))


def _joined(parts: list[ScoredRows], name: str) -> npt.NDArray[Any] | None:
    """The maps or masks (N, H, W) of all batches; None unless every batch has them."""
    arrays = [getattr(one, name) for one in parts]
    if not arrays or any(one is None for one in arrays):
        return None
    shapes = {one.shape[1:] for one in arrays}
    if len(shapes) > 1:
        raise DataError(
            f"The {name} of different batches have different sizes.",
            expected=f"{name} of one height and width",
            got=" and ".join(str(one) for one in sorted(shapes)),
        )
    return np.concatenate(arrays)


def _shown(loader: Iterable[Any], progress: bool) -> Iterable[Any]:
    """The batches, with a bar on stderr if one is wanted."""
    if not progress:
        return loader
    from rich.console import Console
    from rich.progress import track

    return track(loader, description="evaluate", console=Console(stderr=True))


def _parts_of(batch: Any) -> tuple[Any, Any, Any]:
    """Images, labels and masks (or None) of a batch."""
    if isinstance(batch, tuple | list) and not hasattr(batch, "_fields"):
        if len(batch) not in (2, 3):
            raise DataError(
                "A batch has another form than evaluate can read.",
                expected="(images, labels) or (images, labels, masks)",
                got=f"{len(batch)} values",
            )
        return batch[0], batch[1], batch[2] if len(batch) == 3 else None
    images, labels, masks = (_named(batch, n) for n in (IMAGE_NAMES, LABEL_NAMES, MASK_NAMES))
    if images is _MISSING or labels is _MISSING:
        raise DataError(
            "A batch has another form than evaluate can read.",
            expected="a tuple (images, labels[, masks]), or the names image(s), label(s), mask(s)",
            got=type(batch).__name__,
        )
    return images, labels, None if masks is _MISSING else masks


def _named(value: Any, names: tuple[str, ...]) -> Any:
    """The first of the names that a mapping or an object has."""
    for name in names:
        if isinstance(value, Mapping):
            if name in value:
                return value[name]
        elif hasattr(value, name):
            return getattr(value, name)
    return _MISSING


def _as_array(values: Any, dtype: type[np.floating[Any]]) -> npt.NDArray[Any]:
    """As numpy, which knows no bfloat16."""
    tensor = torch.as_tensor(values).cpu()
    return np.asarray(tensor if tensor.dtype == torch.float64 else tensor.float(), dtype)


def _as_labels(labels: Any) -> npt.NDArray[np.int64]:
    values = np.asarray(torch.as_tensor(labels).cpu()).reshape(-1)
    return np.asarray(values != 0, np.int64)


def _as_masks(masks: Any) -> npt.NDArray[np.bool_]:
    values = np.asarray(torch.as_tensor(masks).cpu())
    return np.asarray((values[:, 0] if values.ndim == 4 else values) != 0, np.bool_)
