"""From a model to an ONNX file, and the comparison of the two."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import nn
from torch.nn import functional as F

from sightline.errors import MissingExtraError, RunError
from sightline.exporting import parity
from sightline.exporting.graph import graph_of, onnx_bytes, require_packages
from sightline.exporting.parity import compare
from sightline.exporting.patchcore_graph import PatchCoreGraph
from sightline.exporting.runtime import open_session
from sightline.metrics.calibrators import Calibrator, Temperature, VectorScaling
from sightline.models.feature_maps import create_feature_maps
from sightline.models.patchcore import PatchCore
from sightline.models.settings import BackboneConfig

onnx = pytest.importorskip("onnx", reason="needs the extra export")


class Counting(nn.Module):
    """Two logits of a picture: weighted sums of its pixels."""

    def __init__(self, *, dropped: float = 0.0) -> None:
        super().__init__()
        values = torch.arange(2 * 3 * 8 * 8, dtype=torch.float32).reshape(2, -1)
        self.weight = nn.Parameter(torch.sin(values) / 64)
        self.dropped = dropped

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        pixels = F.dropout(images.flatten(1).float() / 255, self.dropped, training=True)
        return pixels @ self.weight.T


def pictures(count: int, side: int = 8) -> torch.Tensor:
    return torch.randint(
        0,
        256,
        (count, 3, side, side),
        dtype=torch.uint8,
        generator=torch.Generator().manual_seed(0),
    )


def content_of(
    model: nn.Module, *, opset: int | None = None, answers: str = "probabilities"
) -> bytes:
    return onnx_bytes(graph_of(model, answers), pictures(2), opset=opset, about={"by": "a test"})


@pytest.fixture(scope="module")
def counted() -> bytes:
    return content_of(Counting())


def judged(content: bytes, expected: npt.NDArray[Any], *, tolerance: float = 1e-4) -> Any:
    images = pictures(len(expected)).numpy()
    return compare(
        open_session(content),
        images,
        {"logits": expected},
        ids=[f"picture {row}" for row in range(len(images))],
        split="val",
        tolerance=tolerance,
    )


def logits_of(count: int) -> npt.NDArray[np.float32]:
    with torch.no_grad():
        return np.asarray(Counting()(pictures(count)))


# The file and what is in it.


def test_file_takes_any_number_of_images_and_names_no_folder(counted: bytes) -> None:
    proto = onnx.load_model_from_string(counted)
    onnx.checker.check_model(proto, full_check=True)
    (taken,), (given_back,) = proto.graph.input, proto.graph.output
    assert (taken.name, given_back.name) == ("images", "logits")
    assert taken.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert taken.type.tensor_type.shape.dim[0].dim_param
    session = open_session(counted)
    for count in (1, 2, 5):
        (found,) = session.run(None, {"images": pictures(count).numpy()})
        np.testing.assert_allclose(found, logits_of(count), atol=1e-6)
    assert {one.key: one.value for one in proto.metadata_props} == {"by": "a test"}
    here = Path(__file__).resolve().parents[2]
    assert str(here).encode() not in counted, "the steps' origins are left out"
    assert b"test_export.py" not in counted


def test_operator_set_is_what_was_asked_for_or_an_error() -> None:
    proto = onnx.load_model_from_string(content_of(Counting(), opset=18))
    assert [one.version for one in proto.opset_import if not one.domain] == [18]
    with pytest.raises(RunError, match="cannot write the operator set 99"):
        content_of(Counting(), opset=99)


class InBlocks(nn.Module):
    """Whose number of steps depends on the batch."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.cat([one.float() for one in images.flatten(1).split(1)])


class Branching(nn.Module):
    """Whose steps depend on the pixels."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        values = images.flatten(1).float()
        return values if float(values.sum()) > 3 else -values


@pytest.mark.parametrize(
    ("model", "words"), [(InBlocks(), "fixed the number"), (Branching(), "cannot translate")]
)
def test_what_no_graph_can_hold_is_said(
    model: nn.Module, words: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(RunError, match=words) as caught:
        content_of(model)
    assert type(model).__name__ in str(caught.value)
    assert "\x1b" not in str(caught.value)
    assert capfd.readouterr() == ("", ""), "the exporter itself says nothing"


@pytest.mark.parametrize("package", ["onnx", "onnxscript", "onnxruntime"])
def test_missing_extra_is_named(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    require_packages()
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=rf"{package}(.|\n)*sightline\[export\]"):
        require_packages()


@pytest.mark.parametrize(
    "calibrator",
    [Temperature(2.5), VectorScaling((2.0, 0.5), (0.25, -1.0))],
    ids=lambda c: str(c)[:6],
)
def test_probabilities_are_those_of_the_calibrator(calibrator: Calibrator) -> None:
    graph = graph_of(Counting(), "probabilities", calibrator)
    assert graph.outputs == ("logits", "probabilities")
    with torch.no_grad():
        logits, probabilities = (np.asarray(one) for one in graph(pictures(5)))
    exact = np.exp(calibrator.apply(logits))
    np.testing.assert_allclose(probabilities, exact / exact.sum(1, keepdims=True), rtol=1e-5)


@pytest.fixture(scope="module")
def feature_maps() -> Any:
    torch.manual_seed(0)
    config = BackboneConfig(name="resnet10t", pretrained=False)
    return create_feature_maps(config, ("layer1", "layer2"), img_size=32)


@pytest.mark.parametrize(
    ("size", "neighbours", "sigma"), [(1, 9, 4.0), (5, 9, 0.0), (40, 1, 4.0), (5000, 9, 4.0)]
)
def test_graph_of_patchcore_is_patchcore(
    size: int, neighbours: int, sigma: float, feature_maps: Any
) -> None:
    model = PatchCore(feature_maps, neighbours=neighbours, sigma=sigma).eval()
    seen, _ = model.patches(pictures(8, 32))
    generator = torch.Generator().manual_seed(1)
    rows = torch.randint(0, seen.shape[0] * seen.shape[1], (size,), generator=generator)
    # Drawn with repetition: of equally near vectors both have to take the first.
    model.memory_bank = seen.flatten(0, 1)[rows] + 0.01 * (rows % 7)[:, None]
    for count in (1, 3):
        images = pictures(count + 3, 32)[3:]
        wanted, found = model(images), PatchCoreGraph(model)(images)
        torch.testing.assert_close(found.score, wanted.score, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(found.map, wanted.map, rtol=1e-5, atol=1e-6)
        assert float(wanted.map.max()) > 0


# What is compared, and what is refused.


def test_equal_answers_pass_in_every_batch_size(counted: bytes) -> None:
    found = judged(counted, logits_of(7))
    found.require_equal(where="here")
    assert (found.batches, found.samples) == ((1, 3, 7), 7)
    (one,) = found.differences
    assert 0 <= one.relative < 1e-5
    assert (found.decision.same, found.decision.different) == (7, ())
    assert len(found.summary()) == 2
    assert json.loads(json.dumps(found.as_dict()))["tolerance"] == 1e-4


def test_a_difference_is_refused_with_its_figures(counted: bytes) -> None:
    expected = logits_of(7)
    expected[4, 1] += 0.5
    with pytest.raises(RunError) as caught:
        judged(counted, expected).require_equal(where="here")
    text = str(caught.value)
    assert "picture 4" in text
    assert "logits differs by 0.5" in text
    assert f"{0.5 / np.abs(expected).max():.3g} of its largest" in text
    assert "--tolerance" in text


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_no_number_is_refused(value: float, counted: bytes) -> None:
    expected = logits_of(3)
    expected[1, 0] = value
    with pytest.raises(RunError, match=r"does not answer(.|\n)*picture 1"):
        judged(counted, expected, tolerance=1.0).require_equal(where="here")


def test_another_shape_is_refused(counted: bytes) -> None:
    with pytest.raises(RunError, match="another shape"):
        judged(counted, logits_of(3)[:, :1])


def test_another_decision_is_refused_where_values_pass(counted: bytes) -> None:
    expected = logits_of(7)
    # A tolerance that lets any value pass; the choice of the class must be right all the same.
    expected[2] = expected[2][::-1]
    wide = judged(counted, expected, tolerance=0.2)
    assert wide.decision.same == 6
    gap = float(np.abs(np.diff(expected[2]))[0])
    slack = 2 * 0.2 * float(np.abs(expected).max())
    assert (wide.decision.different == ("picture 2",)) == (gap > slack)


def test_dropout_that_was_left_on_is_seen() -> None:
    model = Counting(dropped=0.5).eval()
    with torch.no_grad():
        expected = np.asarray(model(pictures(7)))
    with pytest.raises(RunError, match="does not answer as the trained one"):
        judged(content_of(model), expected).require_equal(where="here")


def test_orders_may_swap_only_what_cannot_be_told_apart() -> None:
    near = np.array([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8], [0.8, 0.6]], np.float32)
    turned = near[:, ::-1].copy()
    same = parity._decision({"embeddings": near}, {"embeddings": turned}, "abcd", 1e-4)
    assert (same.same, same.different) == (4, ()), "a rotation keeps all distances"
    moved = near[[0, 1, 3, 3]]
    other = parity._decision({"embeddings": near}, {"embeddings": moved}, "abcd", 1e-4)
    # To b and d the other pictures are in the order they were in.
    assert other.different == ("a", "c")
    score = np.array([1.0, 2.0, 3.0], np.float32)
    scores = parity._decision({"score": score}, {"score": score[::-1]}, "abc", 1e-4)
    assert scores.different == ("all samples",)
    tied = score + np.float32([0, 1, -1e-7])
    assert not parity._decision({"score": tied}, {"score": tied[[0, 2, 1]]}, "abc", 1e-4).different


values = st.floats(-4, 4, width=16)


@given(arrays(np.float64, (2, 5), elements=values), arrays(np.float64, (2, 5), elements=values))
def test_lost_by_order_is_the_largest_pair_that_is_swapped(
    wanted: npt.NDArray[np.float64], given_: npt.NDArray[np.float64]
) -> None:
    found = parity._lost_by_order(wanted, given_)
    for row in range(2):
        slow = 0.0
        for one in range(5):
            for other in range(5):
                # Equal values stay in their order.
                first = (-given_[row, one], one) < (-given_[row, other], other)
                if first:
                    slow = max(slow, wanted[row, other] - wanted[row, one])
        assert found[row] == slow
