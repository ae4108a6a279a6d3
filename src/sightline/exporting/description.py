"""model.json: what a stranger needs to answer with an exported file as the trained model does."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import numpy as np
import numpy.typing as npt

from sightline.data.effects import FILL
from sightline.data.views import Fit
from sightline.runs.plain import to_json

METADATA_KEY = "sightline"
"""The file's own metadata holds the description, but for what was measured, under this key."""
FORMAT = 1
_VERSIONS = ("sightline", "torch", "timm", "onnx", "onnxscript", "onnxruntime")
_FIT: dict[Fit, str] = {
    "crop": "cut out the largest central part that has the input's shape, and resize it to {size}",
    "pad": "resize the whole picture so that it fits into {size}, put it into the middle, and fill "
    "the margins with RGB {fill}",
    "stretch": "resize the whole picture to {size}, whatever its shape is",
}
_OUTPUTS = {
    "logits": "one number for each class, in the order of class_names; their softmax are "
    "probabilities{uncalibrated}",
    "probabilities": "calibrated probability of each class, in the order of class_names",
    "embeddings": "the vector of a sample; what belongs together is near",
    "score": "how anomalous the picture is, higher is more",
    "map": "how anomalous each pixel of the input is, higher is more",
}


def input_of(images: npt.NDArray[np.uint8], *, fit: Fit, shorter_side: int) -> dict[str, Any]:
    """What goes in, and how a picture becomes that, from images (N, 3, H, W) as they went in."""
    height, width = images.shape[2:]
    fill = ", ".join(str(value) for value in FILL.tolist())
    return {
        "name": "images",
        "shape": ["batch", 3, height, width],
        "dtype": "uint8",
        "range": [0, 255],
        "colour": "RGB",
        "normalisation": "inside the model",
        "fit": fit,
        "shorter_side": shorter_side,
        "steps": [
            "decode to RGB, upright by the EXIF orientation; transparency is dropped, of 16-bit "
            "greys the upper byte is kept",
            f"where the shorter side has more than {shorter_side} pixels, shrink to that many, "
            "the other side in proportion (rounded); a JPEG at least twice too large is decoded "
            "at 1/2, 1/4 or 1/8 of its size first (scaled DCT of libjpeg)",
            _FIT[fit].format(size=f"{height} x {width} (height x width)", fill=fill),
            "every resize is bilinear, and antialiased where it shrinks (as Pillow's BILINEAR)",
        ],
    }


def vector_input_of(vectors: npt.NDArray[np.float32], *, normalize: bool) -> dict[str, Any]:
    """What goes in where samples are vectors, from some (N, D) as they went in."""
    steps = ["divide the vector by its length"] if normalize else []
    return {
        "name": "vectors",
        "shape": ["batch", vectors.shape[1]],
        "dtype": "float32",
        "unit_length": normalize,
        "normalisation": "inside the model",
        "steps": steps,
    }


def outputs_of(expected: Mapping[str, npt.NDArray[Any]]) -> list[dict[str, Any]]:
    """Name, shape and meaning of each output, from the model's answers (N, ...)."""
    uncalibrated = "" if "probabilities" not in expected else " without calibration"
    return [
        {
            "name": name,
            "shape": ["batch", *values.shape[1:]],
            "dtype": "float32",
            "meaning": _OUTPUTS[name].format(uncalibrated=uncalibrated),
        }
        for name, values in expected.items()
    ]


def embedding_of(embeddings: npt.NDArray[Any]) -> dict[str, Any]:
    """Size, length and measure of nearness of embeddings (N, D)."""
    unit = bool(np.allclose(np.linalg.norm(embeddings, axis=1), 1.0, atol=1e-3))
    return {
        "size": embeddings.shape[1],
        "unit_length": unit,
        "metric": "cosine: the product of two vectors, higher is nearer" if unit else "euclidean",
    }


def versions() -> dict[str, str]:
    """What the file was made and compared with."""
    return {"python": platform.python_version(), **{name: version(name) for name in _VERSIONS}}


def as_metadata(description: Mapping[str, Any]) -> dict[str, str]:
    """The description as ONNX metadata, with what people look for under names of its own."""
    run = description["run"]
    essentials = {
        "run": run["id"],
        "checkpoint": run["checkpoint"],
        "checkpoint_sha256": run["sha256"],
        "input": f"{description['input']['dtype']}; normalisation is inside the model",
        "class_names": json.dumps(description.get("class_names", []), ensure_ascii=False),
    }
    return {METADATA_KEY: to_json(description), **essentials}
