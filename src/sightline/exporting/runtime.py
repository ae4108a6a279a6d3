"""ONNX Runtime as the exporter uses it: on the CPU, with as many threads as torch has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from sightline.errors import MissingExtraError, RunError


def open_session(source: bytes | Path) -> Any:
    """A session for the content of an ONNX file, or for a file; RunError for what is not one."""
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtraError("onnxruntime", "export", "An exported model") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = torch.get_num_threads(), 1
    options.log_severity_level = 3
    content = source if isinstance(source, bytes) else str(source)
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except _errors(onnxruntime) as error:
        raise RunError(
            "ONNX Runtime cannot open the exported model.",
            got=str(error).splitlines()[0][:200],
            where=None if isinstance(source, bytes) else source,
            remedy="export it again, perhaps with another --opset, or install a newer onnxruntime",
        ) from error


def answers_of(
    session: Any, samples: npt.NDArray[Any], batch_size: int
) -> dict[str, npt.NDArray[Any]]:
    """Every output, by its name, for images (N, 3, H, W) or vectors (N, D) in batches of a size."""
    names = [one.name for one in session.get_outputs()]
    (given,) = session.get_inputs()
    parts = [
        session.run(names, {given.name: samples[start : start + batch_size]})
        for start in range(0, len(samples), batch_size)
    ]
    return {name: np.concatenate([part[n] for part in parts]) for n, name in enumerate(names)}


def _errors(onnxruntime: Any) -> tuple[type[Exception], ...]:
    """What the runtime raises; its exceptions have no common class but Exception."""
    named = vars(onnxruntime.capi.onnxruntime_pybind11_state).values()
    return tuple(one for one in named if isinstance(one, type) and issubclass(one, Exception))
