"""Running a model over a whole split, and joining what it said to the samples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from sightline.errors import DataError
from sightline.training.batches import to_cpu, to_device
from sightline.training.runtime import Precision
from sightline.training.spool import LARGE, Rows, Spool


def collect_outputs(
    model: nn.Module,
    loader: Iterable[Any],
    forward: Callable[[Any], dict[str, Any]],
    *,
    device: torch.device,
    precision: Precision,
    progress: Callable[[int], None] | None = None,
) -> list[dict[str, Any]]:
    """What `forward` returns for every batch, on the CPU, with the model in eval mode.

    Maps and what else has three dimensions or more is kept on disk, so that memory does not grow
    with the split.
    """
    model.eval()
    outputs = []
    with Spool() as spool, torch.no_grad():
        for number, batch in enumerate(loader, start=1):
            with precision.autocast(device):
                output = forward(to_device(batch, device))
            outputs.append(spool.keep(to_cpu(output)))
            if progress is not None:
                progress(number)
        return spool.read(outputs)


def join_by_id(
    outputs: Sequence[dict[str, Any]], expected: Sequence[str] | None = None
) -> dict[str, Any]:
    """One array per key of the outputs, rows in the order of the expected ids (or as they came).

    Each output holds `ids` (a list of B texts) and arrays or tensors of B rows; scalars are left
    out. What has three dimensions or more becomes Rows, which are read when they are asked for.
    Raises DataError when an id comes twice, is missing, or was not expected.
    """
    ids = [str(one) for output in outputs for one in output["ids"]]
    repeated = [one for one, count in Counter(ids).items() if count > 1]
    if repeated:
        raise DataError(
            f"{len(repeated)} samples were evaluated more than once.",
            expected="each sample once",
            got=", ".join(repeated[:5]),
        )
    order = range(len(ids)) if expected is None else _order(ids, expected)
    keys = [
        key
        for key, value in (outputs[0].items() if outputs else ())
        if key != "ids" and getattr(value, "ndim", 0) > 0
    ]
    joined: dict[str, Any] = {"ids": [ids[row] for row in order]}
    places = np.fromiter(order, np.int64, len(ids))
    for key in keys:
        values = [output[key] for output in outputs]
        if values[0].ndim >= LARGE:
            joined[key] = Rows(values, places)
        else:
            joined[key] = np.concatenate([np.asarray(value) for value in values])[places]
    return joined


def _order(ids: Sequence[str], expected: Sequence[str]) -> list[int]:
    place = {one: row for row, one in enumerate(ids)}
    missing = [one for one in expected if one not in place]
    if missing or len(expected) != len(ids):
        unknown = set(ids) - set(expected)
        raise DataError(
            "The outputs do not belong to the samples that were to be evaluated.",
            expected=f"{len(expected)} samples, each once",
            got=f"{len(ids)} rows, {len(missing)} missing ({', '.join(missing[:5])}), "
            f"{len(unknown)} unknown",
        )
    return [place[one] for one in expected]
