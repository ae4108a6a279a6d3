"""`sightline.evaluate`: every form of batch and of output, thresholds, single classes, modes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from sightline import Evaluation, evaluate
from sightline.errors import ConfigError, DataError, UsageError
from sightline.metrics.conformal import TooFewNormalsError
from sightline.tasks.model_rows import LABEL_NAMES, MAP_NAMES, MASK_NAMES, SCORE_NAMES, Scored

SIDE = 4
SCORES = [0.1, 0.7, 0.4, 0.9, 0.2]
LABELS = [0, 0, 1, 1, 1]


class Answers(nn.Module):
    """Answers with the images themselves, in whatever form the test wants."""

    def __init__(self, form: Callable[[torch.Tensor], Any] = lambda images: images) -> None:
        super().__init__()
        self.form = form

    def forward(self, images: torch.Tensor) -> Any:
        assert not self.training
        assert not torch.is_grad_enabled()
        return self.form(images)


class Named(NamedTuple):
    image: torch.Tensor
    label: torch.Tensor
    mask: torch.Tensor | None = None


@dataclass
class Record:
    images: torch.Tensor
    labels: torch.Tensor
    masks: torch.Tensor | None = None


def in_batches(*columns: Any, size: int = 2) -> list[tuple[torch.Tensor, ...]]:
    tensors = [torch.as_tensor(column) for column in columns]
    return [
        tuple(one[start : start + size] for one in tensors)
        for start in range(0, len(tensors[0]), size)
    ]


def slow_auroc(scores: list[float], labels: list[int]) -> float:
    pairs = [
        (high > low) + (high == low) / 2
        for (high, bad), (low, good) in product(zip(scores, labels, strict=True), repeat=2)
        if bad and not good
    ]
    return sum(pairs) / len(pairs)


def slow_f1(scores: list[float], labels: list[int], threshold: float) -> float:
    calls = [score > threshold for score in scores]
    hits = sum(call and bad for call, bad in zip(calls, labels, strict=True))
    return 2 * hits / (sum(calls) + sum(labels))


def pictures(count: int = 5, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Maps (N, 1, H, W) as images, labels, and masks (N, H, W) of what is brightest in defects."""
    draw = torch.Generator().manual_seed(seed)
    maps = torch.rand(count, 1, SIDE, SIDE, generator=draw)
    labels = torch.arange(count) % 2
    masks = (maps[:, 0] > 0.6) & (labels[:, None, None] == 1)
    return maps, labels, masks


# What comes back.


def test_metrics_are_those_of_plain_loops() -> None:
    found = evaluate(Answers(), in_batches(SCORES, LABELS), "cpu", threshold=0.3)
    assert found["image_auroc"] == pytest.approx(slow_auroc(SCORES, LABELS))
    assert found["image_f1"] == pytest.approx(slow_f1(SCORES, LABELS, 0.3))
    best = max(slow_f1(SCORES, LABELS, limit) for limit in [-1.0, *SCORES])
    assert found["image_f1_max"] == pytest.approx(best)
    assert found["threshold"] == 0.3
    assert found.predictions["alarms"].tolist() == [False, True, True, True, False]


def test_average_precision_by_hand() -> None:
    # Ranked: 0.9 defect (1/1), 0.7 normal, 0.4 defect (2/3), 0.2 defect (3/4), 0.1 normal.
    found = evaluate(Answers(), in_batches(SCORES, LABELS), "cpu")
    assert found["image_ap"] == pytest.approx((1 + 2 / 3 + 3 / 4) / 3)


@given(
    rows=st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=2, max_size=30),
    size=st.integers(1, 7),
    threshold=st.integers(-1, 7),
)
@settings(deadline=None, max_examples=60)
def test_any_scores_in_any_batches(rows: list[tuple[int, bool]], size: int, threshold: int) -> None:
    scores, labels = [float(one) for one, _ in rows], [int(bad) for _, bad in rows]
    if len(set(labels)) == 1:
        labels[0] = 1 - labels[0]
    found = evaluate(Answers(), in_batches(scores, labels, size=size), "cpu", threshold=threshold)
    assert found.scores.tolist() == scores
    assert found.labels.tolist() == labels
    assert found["image_auroc"] == pytest.approx(slow_auroc(scores, labels))
    assert found["image_f1"] == pytest.approx(slow_f1(scores, labels, threshold))
    assert found["image_f1_max"] >= found["image_f1"] - 1e-12


def test_it_unpacks_and_reads_as_a_mapping() -> None:
    found = evaluate(Answers(), in_batches(SCORES, LABELS), "cpu", threshold=0.3)
    metrics, scores, labels, predictions = found
    assert isinstance(found, Evaluation)
    assert metrics is found.metrics
    assert dict(found) == metrics
    assert set(found.keys()) == {"image_auroc", "image_ap", "image_f1", "image_f1_max", "threshold"}
    assert list(found.values()) == list(metrics.values())
    assert list(found.items()) == list(metrics.items())
    assert len(found) == 5
    assert "image_auroc" in found
    assert "pixel_auroc" not in found
    assert found.get("pixel_auroc") is None
    assert found.get("pixel_auroc", -1.0) == -1.0
    assert (scores.dtype, labels.dtype) == (np.float64, np.int64)
    np.testing.assert_allclose(scores, SCORES, rtol=1e-6)
    assert labels.tolist() == LABELS
    assert set(predictions) == {"alarms"}
    with pytest.raises(KeyError):
        found["image_f2"]


# What a model may return.


def object_of(**named: Any) -> SimpleNamespace:
    return SimpleNamespace(**named)


FLAT_FORMS: dict[str, Callable[[torch.Tensor], Any]] = {
    "(B,)": lambda one: one,
    "(B, 1)": lambda one: one[:, None],
    "float64": lambda one: one.double(),
    "bfloat16": lambda one: one.bfloat16(),
    "float16": lambda one: one.half(),
    "with a gradient": lambda one: one.clone().requires_grad_(),
    "numpy": lambda one: one.numpy(),
    "mapping of (B, 1)": lambda one: {"score": one[:, None]},
    "mapping of numpy": lambda one: {"score": one.numpy()},
    "mapping of a list": lambda one: {"scores": one.tolist()},
    "named tuple": lambda one: Scored(one),
    **{f"mapping {name}": lambda one, name=name: {name: one, "x": 1} for name in SCORE_NAMES},
    **{f"object {name}": lambda one, name=name: object_of(**{name: one}) for name in SCORE_NAMES},
}


@pytest.mark.parametrize("name", FLAT_FORMS)
def test_scores_in_every_form(name: str) -> None:
    found = evaluate(Answers(FLAT_FORMS[name]), in_batches(SCORES, LABELS), "cpu")
    np.testing.assert_allclose(found.scores, SCORES, rtol=1e-2)
    assert found["image_auroc"] == pytest.approx(slow_auroc(SCORES, LABELS))
    assert found.predictions == {}


MAP_FORMS: dict[str, Callable[[torch.Tensor], Any]] = {
    "(B, 1, H, W)": lambda one: one,
    "(B, H, W)": lambda one: one[:, 0],
    "numpy": lambda one: one.numpy(),
    "bfloat16": lambda one: one.bfloat16(),
    **{f"mapping {name}": lambda one, name=name: {name: one} for name in MAP_NAMES},
    **{
        f"object {name}": lambda one, name=name: object_of(**{name: one[:, 0], "score": None})
        for name in MAP_NAMES
    },
}


@pytest.mark.parametrize("name", MAP_FORMS)
@pytest.mark.parametrize("size", [1, 2])
def test_maps_in_every_form(name: str, size: int) -> None:
    maps, labels, masks = pictures()
    loader = in_batches(maps, labels, masks, size=size)
    found = evaluate(Answers(MAP_FORMS[name]), loader, "cpu")
    plain = maps[:, 0].numpy()
    np.testing.assert_allclose(found.scores, plain.max(axis=(1, 2)), rtol=1e-2)
    np.testing.assert_allclose(found.predictions["maps"], plain, rtol=1e-2)
    assert found.predictions["maps"].dtype == np.float32
    if name != "bfloat16":
        every = plain.reshape(-1).tolist(), masks.reshape(-1).int().tolist()
        assert found["pixel_auroc"] == pytest.approx(slow_auroc(*every), abs=1e-4)
    assert 0 < found["pixel_aupro"] <= 1


def test_a_score_beside_a_map_is_taken_as_it_is() -> None:
    maps, labels, masks = pictures()
    model = Answers(lambda one: {"score": one.flatten(1).mean(dim=1), "anomaly_map": one})
    found = evaluate(model, in_batches(maps, labels, masks), "cpu")
    np.testing.assert_allclose(found.scores, maps.flatten(1).mean(dim=1), rtol=1e-6)
    assert found["pixel_auroc"] > 0.5


def test_perfect_maps_reach_one() -> None:
    _, labels, masks = pictures()
    found = evaluate(Answers(), in_batches(masks[:, None].float(), labels, masks), "cpu")
    assert found["pixel_auroc"] == pytest.approx(1)
    assert found["pixel_aupro"] == pytest.approx(1)
    assert found["image_auroc"] == 1


def test_an_adapter_reads_any_other_form() -> None:
    model = Answers(lambda one: ("ignored", [one, one * 2]))
    found = evaluate(
        model, in_batches(SCORES, LABELS), "cpu", adapter=lambda output: Scored(output[1][1])
    )
    np.testing.assert_allclose(found.scores, [2 * one for one in SCORES], rtol=1e-6)


@pytest.mark.parametrize(
    ("form", "got"),
    [
        (lambda one: torch.stack([one, one], dim=1), r"shape \(2, 2\)"),
        (lambda one: one.mean(), r"shape \(\)"),
        (lambda one: one[:, None, None, None].expand(-1, 3, 2, 2), r"shape \(2, 3, 2, 2\)"),
        (lambda one: {"logits": one}, "got: +dict"),
        (lambda one: {"map": one}, r"a map of shape \(2,\)"),
        (lambda one: [one, one], "got: +list"),
        (lambda one: None, "got: +NoneType"),
    ],
)
def test_other_outputs_are_an_error_that_shows_the_forms(
    form: Callable[[torch.Tensor], Any], got: str
) -> None:
    with pytest.raises(DataError, match=got) as caught:
        evaluate(Answers(form), in_batches(SCORES, LABELS), "cpu")
    assert "scores (B,), maps (B, H, W)" in str(caught.value)
    assert "adapter=" in str(caught.value)


def test_fewer_scores_than_images_are_an_error_of_their_batch() -> None:
    with pytest.raises(DataError, match="one score for each image") as caught:
        evaluate(Answers(lambda one: one[1:]), in_batches(SCORES, LABELS), "cpu")
    assert "2 scores" in str(caught.value)
    assert "batch 0" in str(caught.value)


def test_batches_that_make_up_for_each_other_are_still_an_error() -> None:
    def uneven(images: torch.Tensor) -> torch.Tensor:
        return images[1:] if images[0] == 0.0 else torch.cat([images, images[:1]])

    with pytest.raises(DataError, match="one score for each image"):
        evaluate(Answers(uneven), in_batches([0.0, 1.0, 2.0, 3.0], [0, 1, 0, 1]), "cpu")


def test_maps_that_are_fewer_or_of_several_sizes_are_errors() -> None:
    maps, labels, _ = pictures(4)
    model = Answers(lambda one: {"score": one.flatten(1).amax(dim=1), "map": one[1:]})
    with pytest.raises(DataError, match="one map for each image"):
        evaluate(model, in_batches(maps, labels), "cpu")
    loader = [(maps[:2], labels[:2]), (maps[2:, :, :2], labels[2:])]
    with pytest.raises(DataError, match="maps of different batches have different sizes"):
        evaluate(Answers(), loader, "cpu")


def test_nan_scores_are_an_error() -> None:
    with pytest.raises(DataError, match="no numbers"):
        evaluate(Answers(lambda one: one * math.nan), in_batches(SCORES, LABELS), "cpu")


# What a loader may give.


BATCHES: dict[str, Callable[[Any], Any]] = {
    "tuple": lambda one: one,
    "list": list,
    "named tuple": lambda one: Named(*one),
    "dataclass": lambda one: Record(*one),
    "object": lambda one: SimpleNamespace(image=one[0], label=one[1], mask=one[2]),
    **{
        f"mapping {names}": lambda one, names=names: dict(zip(names, one, strict=True), ids=["a"])
        for names in product(("image", "images"), LABEL_NAMES, MASK_NAMES)
    },
}


@pytest.mark.parametrize("name", BATCHES)
def test_batches_in_every_form(name: str) -> None:
    maps, labels, masks = pictures()
    loader = [BATCHES[name](one) for one in in_batches(maps, labels, masks)]
    expected = evaluate(Answers(), in_batches(maps, labels, masks), "cpu")
    found = evaluate(Answers(), loader, "cpu")
    assert dict(found) == pytest.approx(dict(expected), nan_ok=True)
    assert "pixel_aupro" in found


@pytest.mark.parametrize(
    "change",
    [
        lambda masks: masks[:, None],
        lambda masks: masks.float(),
        lambda masks: masks.to(torch.uint8) * 255,
        lambda masks: masks.numpy(),
    ],
)
def test_masks_in_every_form(change: Callable[[torch.Tensor], Any]) -> None:
    maps, labels, masks = pictures()
    loader = [(one, label, change(mask)) for one, label, mask in in_batches(maps, labels, masks)]
    expected = evaluate(Answers(), in_batches(maps, labels, masks), "cpu")
    assert evaluate(Answers(), loader, "cpu")["pixel_aupro"] == expected["pixel_aupro"]


def test_without_masks_or_defect_pixels_there_are_no_pixel_metrics() -> None:
    maps, labels, masks = pictures()
    plain = evaluate(Answers(), in_batches(maps, labels), "cpu")
    assert "pixel_auroc" not in plain
    assert plain.predictions["maps"].shape == (5, SIDE, SIDE)
    empty = evaluate(Answers(), in_batches(maps, labels, masks & False), "cpu")
    assert "pixel_aupro" not in empty


@pytest.mark.parametrize("labels", [[0, 0, 2, 7, 1], [False, False, True, True, True]])
def test_every_label_but_zero_is_anomalous(labels: list[Any]) -> None:
    found = evaluate(Answers(), in_batches(SCORES, labels), "cpu")
    assert found.labels.tolist() == LABELS


def test_a_generator_and_a_torch_loader_are_loaders() -> None:
    def stream() -> Iterator[Any]:
        yield from in_batches(SCORES, LABELS)

    data = torch.utils.data.TensorDataset(torch.tensor(SCORES), torch.tensor(LABELS))
    loader = torch.utils.data.DataLoader(data, batch_size=3)
    first, second = evaluate(Answers(), stream(), "cpu"), evaluate(Answers(), loader, "cpu")
    assert first.scores.tolist() == second.scores.tolist()
    assert first["image_auroc"] == second["image_auroc"]


@pytest.mark.parametrize("batch", [(torch.zeros(2),), (1, 2, 3, 4), {"image": 1}, torch.zeros(2)])
def test_other_batches_are_an_error_that_shows_the_forms(batch: Any) -> None:
    with pytest.raises(DataError, match="evaluate can read") as caught:
        evaluate(Answers(), [batch], "cpu")
    assert "(images, labels" in str(caught.value)


@pytest.mark.parametrize("loader", [[], iter(())])
def test_an_empty_loader_is_an_error(loader: Any) -> None:
    with pytest.raises(DataError, match="loader is empty"):
        evaluate(Answers(), loader, "cpu")


# One class only.


@pytest.mark.parametrize("label", [0, 1])
def test_a_single_class_is_nan_with_a_warning_that_counts(label: int) -> None:
    counts = ["3 normal and 0 anomalous", "0 normal and 3 anomalous"][label]
    with pytest.warns(UserWarning, match=counts):
        found = evaluate(Answers(), in_batches([0.1, 0.2, 0.3], [label] * 3), "cpu", threshold=0.15)
    for name in ("image_auroc", "image_ap", "image_f1_max"):
        assert math.isnan(found[name]), name
    assert found.predictions["alarms"].tolist() == [False, True, True]
    # F1 needs defects, and no normal picture.
    assert math.isnan(found["image_f1"]) if label == 0 else found["image_f1"] == 0.8


@pytest.mark.parametrize("label", [0, 1])
def test_a_single_class_is_an_error_in_strict_mode(label: int) -> None:
    with pytest.raises(DataError, match="normal and anomalous"):
        evaluate(Answers(), in_batches([0.1, 0.2], [label] * 2), "cpu", strict=True)


# The threshold.


def test_without_a_threshold_f1_is_nan_and_nothing_alarms() -> None:
    found = evaluate(Answers(), in_batches(SCORES, LABELS), "cpu")
    assert math.isnan(found["threshold"])
    assert math.isnan(found["image_f1"])
    assert "alarms" not in found.predictions


def test_the_threshold_comes_from_the_calibration_images_alone() -> None:
    calm = [index / 100 for index in range(1, 20)]
    normal = in_batches(calm, [0] * 19)
    for scores in (SCORES, [10 * one for one in SCORES]):
        found = evaluate(Answers(), in_batches(scores, LABELS), "cpu", calibration=normal)
        # 19 images and a budget of 0.05: rank ceil(20 * 0.95) = 19, the largest of them.
        assert found["threshold"] == pytest.approx(0.19)
        assert found["image_f1"] == pytest.approx(slow_f1(scores, LABELS, 0.19))
    found = evaluate(Answers(), in_batches(SCORES, LABELS), "cpu", calibration=normal, budget=0.5)
    assert found["threshold"] == pytest.approx(0.10)


def test_too_few_calibration_images_say_how_many_it_takes() -> None:
    normal = in_batches([0.1] * 18, [0] * 18)
    with pytest.raises(TooFewNormalsError, match="19"):
        evaluate(Answers(), in_batches(SCORES, LABELS), "cpu", calibration=normal)
    with pytest.raises(DataError):
        evaluate(Answers(), in_batches(SCORES, LABELS), "cpu", calibration=[])


def test_a_defect_among_the_calibration_images_is_an_error() -> None:
    normal = in_batches([0.1] * 30, [0] * 28 + [1, 1])
    with pytest.raises(DataError, match="2 of 30 calibration images are anomalous"):
        evaluate(Answers(), in_batches(SCORES, LABELS), "cpu", calibration=normal)


def test_two_sources_of_a_threshold_are_an_error() -> None:
    normal = in_batches([0.1] * 30, [0] * 30)
    with pytest.raises(UsageError, match="leave out threshold or calibration"):
        evaluate(Answers(), in_batches(SCORES, LABELS), "cpu", threshold=0.0, calibration=normal)


def test_a_threshold_of_zero_is_a_threshold_and_equal_is_no_alarm() -> None:
    found = evaluate(Answers(), in_batches([0.0, 1.0, 2.0], [0, 0, 1]), "cpu", threshold=0.0)
    assert found["threshold"] == 0
    assert found.predictions["alarms"].tolist() == [False, True, True]


# The model afterwards.


class WithTeacher(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.teacher = nn.BatchNorm1d(1)
        self.student = nn.Linear(1, 1)
        self.breaks = False

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        if self.breaks:
            raise RuntimeError("broken")
        return self.student(self.teacher(values[:, None]))


@pytest.mark.parametrize("breaks", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_every_part_is_left_in_the_mode_it_came_in(breaks: bool, training: bool) -> None:
    model = WithTeacher()
    model.train(training)
    model.teacher.eval()
    model.breaks = breaks
    before = {name: one.clone() for name, one in model.state_dict().items()}
    try:
        evaluate(model, in_batches(SCORES, LABELS), "cpu")
    except RuntimeError:
        assert breaks
    modes = (model.training, model.student.training, model.teacher.training)
    assert modes == (training, training, False)
    for name, one in model.state_dict().items():
        assert torch.equal(one, before[name]), name


def test_dropout_is_off() -> None:
    model = nn.Sequential(nn.Unflatten(0, (-1, 1)), nn.Dropout(0.9), nn.Flatten(0))
    model.train()
    np.testing.assert_allclose(
        evaluate(model, in_batches(SCORES, LABELS), "cpu").scores, SCORES, rtol=1e-6
    )


def test_an_unknown_device_is_an_error() -> None:
    with pytest.raises(ConfigError):
        evaluate(Answers(), in_batches(SCORES, LABELS), "quantum")


def test_device_auto_is_one_that_is_there() -> None:
    model = WithTeacher()
    found = evaluate(model, in_batches(SCORES, LABELS))
    expected = "cuda" if torch.cuda.is_available() else "cpu"
    assert {one.device.type for one in model.parameters()} == {expected}
    assert len(found.scores) == 5


@pytest.mark.gpu
def test_images_follow_the_model_to_the_gpu() -> None:
    model = WithTeacher()
    on_cpu = evaluate(model, in_batches(SCORES, LABELS), "cpu")
    on_gpu = evaluate(model, in_batches(SCORES, LABELS), "cuda")
    assert next(model.parameters()).is_cuda
    np.testing.assert_allclose(on_gpu.scores, on_cpu.scores, rtol=1e-4, atol=1e-5)


def test_progress_writes_to_stderr_only(capfd: pytest.CaptureFixture[str]) -> None:
    evaluate(Answers(), in_batches(SCORES, LABELS), "cpu", progress=True)
    out, err = capfd.readouterr()
    assert out == ""
    assert "evaluate" in err
