"""From a trained model to ONNX bytes: uint8 images in, what the task answers with out.

B C D H W are batch, classes (channels for images), embedding size, height and width.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from sightline.errors import MissingExtraError, RunError
from sightline.exporting.patchcore_graph import PatchCoreGraph
from sightline.metrics.calibrators import Calibrator, Temperature
from sightline.models.patchcore import PatchCore

PACKAGES = ("onnx", "onnxscript", "onnxruntime")
LARGEST = 2**31 - 2**24
"""Bytes of tensors that one file can hold: a message of protobuf ends at 2 GiB."""

_Read = Callable[[Any], tuple[Tensor, ...]]


class Graph(nn.Module):
    """A model whose output is the tensors that are named, in their order."""

    def __init__(
        self,
        model: nn.Module,
        outputs: tuple[str, ...],
        read: _Read,
        *,
        input_name: str = "images",
    ) -> None:
        super().__init__()
        self.model = model
        self.outputs = outputs
        self.read = read
        self.input_name = input_name

    def forward(self, samples: Tensor) -> tuple[Tensor, ...]:
        """The outputs, float32, of uint8 images (B, 3, H, W) or float32 vectors (B, D)."""
        return self.read(self.model(samples))


def require_packages() -> None:
    """Raise MissingExtraError that names the first package of the extra that is not installed."""
    for package in PACKAGES:
        if importlib.util.find_spec(package) is None:
            raise MissingExtraError(package, "export", "An export to ONNX")


def graph_of(model: nn.Module, answers: str, calibrator: Calibrator | None = None) -> Graph:
    """What is exported of a model, by what its task answers with.

    Probabilities: `logits` (B, C), and with a calibrator `probabilities` (B, C), its softmax.
    Neighbours and vectors: `embeddings` (B, D). Scores: `score` (B,) and `map` (B, H, W).
    """
    if answers == "vectors":
        return Graph(model, ("embeddings",), lambda output: (output.float(),), input_name="vectors")
    if answers == "neighbours":
        return Graph(model, ("embeddings",), lambda output: (output.float(),))
    if answers == "scores":
        inner = PatchCoreGraph(model) if isinstance(model, PatchCore) else model
        return Graph(
            inner, ("score", "map"), lambda output: (output.score.float(), output.map.float())
        )
    if calibrator is None:
        return Graph(model, ("logits",), lambda output: (output.float(),))
    return Graph(model, ("logits", "probabilities"), _calibrated(calibrator))


def onnx_bytes(
    graph: Graph, samples: Tensor, *, opset: int | None, about: Mapping[str, str]
) -> bytes:
    """The graph as the content of an ONNX file that takes any number of samples of their size.

    `samples` are uint8 images (B, 3, H, W) or vectors (B, D), two or more; `opset` None is the
    exporter's own choice; `about` becomes the file's metadata. Raises RunError where the exporter
    cannot translate the model, the operator set, or a batch of any size.
    """
    _require_room(graph)
    proto = _translated(graph, samples, opset)
    written = _opset(proto)
    if opset is not None and written != opset:
        raise RunError(
            f"The exporter cannot write the operator set {opset} for this model.",
            expected=f"one it can write, such as {written}",
            got=f"--opset {opset}",
            remedy="leave out --opset, or ask for another one",
        )
    if not proto.graph.input[0].type.tensor_type.shape.dim[0].dim_param:
        raise RunError(
            "The exporter fixed the number of samples in a batch, so nothing was written.",
            expected="a model whose steps do not depend on how many samples there are",
            got=f"a graph for {len(samples)} samples only",
            where=type(graph.model).__name__,
        )
    _remove_traces(proto)
    for key, value in about.items():
        entry = proto.metadata_props.add()
        entry.key, entry.value = key, value
    content: bytes = proto.SerializeToString()
    return content


def opset_of(content: bytes) -> int:
    """The version of the ONNX operators that the content of a file was written with."""
    import onnx

    return _opset(onnx.load_model_from_string(content))


def _opset(proto: Any) -> int:
    return next(int(one.version) for one in proto.opset_import if one.domain in ("", "ai.onnx"))


def _calibrated(calibrator: Calibrator) -> _Read:
    """Logits and probabilities of a classifier's output, by the equations of the calibrator."""
    if isinstance(calibrator, Temperature):
        value = calibrator.value

        def scaled(logits: Tensor) -> tuple[Tensor, ...]:
            logits = logits.float()
            return logits, torch.softmax(logits / value, dim=1)

        return scaled
    scale, bias = torch.tensor(calibrator.scale), torch.tensor(calibrator.bias)

    def shifted(logits: Tensor) -> tuple[Tensor, ...]:
        logits = logits.float()
        return logits, torch.softmax(torch.log_softmax(logits, dim=1) * scale + bias, dim=1)

    return shifted


def _require_room(graph: Graph) -> None:
    size = sum(one.nbytes for one in (*graph.parameters(), *graph.buffers()))
    if size > LARGEST:
        raise RunError(
            "The model is too large for one ONNX file.",
            expected=f"at most {LARGEST / 2**30:.2f} GiB of weights",
            got=f"{size / 2**30:.2f} GiB",
            remedy="train a smaller model; of PatchCore, a smaller model.coreset_ratio",
        )


def _translated(graph: Graph, samples: Tensor, opset: int | None) -> Any:
    """The graph as an ONNX message, whatever the exporter would like to tell about it left out."""
    batch = torch.export.Dim("batch", min=1)
    try:
        with _quiet(), torch.no_grad():
            program = torch.onnx.export(
                graph.eval(),
                (samples,),
                None,
                dynamo=True,
                input_names=[graph.input_name],
                output_names=list(graph.outputs),
                dynamic_shapes=({0: batch},),
                opset_version=opset,
                external_data=False,
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        cause = error.__cause__ or error
        raise RunError(
            "The exporter cannot translate this model to ONNX.",
            got=(str(cause).strip() or type(cause).__name__).splitlines()[0][:200],
            where=type(graph.model).__name__,
            remedy="another version of torch or onnxscript may be able to, or another model.name",
        ) from error
    assert program is not None
    return program.model_proto


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's remarks from the terminal; what it cannot do is an error anyway."""
    logs = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript")]
    levels = [log.level for log in logs]
    for log in logs:
        log.setLevel(logging.CRITICAL)
    try:
        with (
            warnings.catch_warnings(action="ignore"),
            contextlib.redirect_stderr(io.StringIO()),
            contextlib.redirect_stdout(io.StringIO()),
        ):
            yield
    finally:
        for log, level in zip(logs, levels, strict=True):
            log.setLevel(level)


def _remove_traces(proto: Any) -> None:
    """Take out which lines of which files the steps come from: names of folders of this machine."""
    parts = [proto.graph, *proto.functions]
    for part in parts:
        for kind in ("node", "value_info", "input", "output", "initializer"):
            for one in getattr(part, kind):
                if hasattr(one, "metadata_props"):
                    del one.metadata_props[:]
                    one.doc_string = ""
        del part.metadata_props[:]
