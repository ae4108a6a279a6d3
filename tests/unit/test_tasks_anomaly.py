"""The anomaly task's own arithmetic: who sets the threshold, what is counted, what is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from sightline.config import load_config
from sightline.data.dataset import Dataset
from sightline.data.manifest import Manifest
from sightline.errors import ConfigError
from sightline.metrics.auroc import compute_auroc, f1_score_at
from sightline.tasks import TASKS
from sightline.tasks.anomaly import AnomalyTask
from sightline.tasks.anomaly_config import AnomalyConfig
from sightline.tasks.anomaly_trainers import sets_threshold
from sightline.tasks.task import Truth
from sightline.tasks.thresholds import Threshold, Thresholds, read_thresholds, write_thresholds
from sightline.threshold import best_f1

CONFIGS = {name: task.config for name, task in TASKS.items()}


def config_of(*settings: str) -> AnomalyConfig:
    loaded = load_config("anomaly/patchcore", ["eval.bootstrap=100", *settings], tasks=CONFIGS)
    assert isinstance(loaded, AnomalyConfig)
    return loaded


@given(st.sets(st.text(max_size=5), min_size=1, max_size=30), st.integers(0, 5))
def test_half_of_the_held_out_pictures_set_the_threshold(ids: set[str], seed: int) -> None:
    names = sorted(ids)
    chosen = sets_threshold(names, seed)
    assert chosen.sum() == (len(names) + 1) // 2
    turned = sets_threshold(names[::-1], seed)
    assert turned[::-1].tolist() == chosen.tolist(), "in whatever order they come"


def test_another_seed_chooses_another_half() -> None:
    names = [str(number) for number in range(40)]
    assert (sets_threshold(names, 0) != sets_threshold(names, 1)).any()


@given(st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=2, max_size=20))
def test_f1_threshold_is_the_best_of_all(pairs: list[tuple[int, bool]]) -> None:
    scores = np.array([score for score, _ in pairs], float)
    anomalous = np.array([flag for _, flag in pairs], bool)
    if anomalous.all() or not anomalous.any():
        return
    samples = Manifest.build(
        Path(),
        id=[str(n) for n in range(len(pairs))],
        path=["x"] * len(pairs),
        label=["crack" if flag else "good" for flag in anomalous],
    )
    found = best_f1(samples, scores)
    tried = [f1_score_at(scores, anomalous, limit) for limit in np.arange(-0.5, 7)]
    assert f1_score_at(scores, anomalous, found.value) == pytest.approx(max(tried))
    assert found.value not in scores, "between two scores, so that rounding decides nothing"


def pictures(folder: Path) -> Manifest:
    """Two good pictures, a crack with a mask, one with an empty mask, a stain without a mask."""
    (folder / "masks").mkdir(parents=True)
    for name in ("a", "b", "c", "d", "e"):
        Image.new("RGB", (12, 8), 100).save(folder / f"{name}.png")
    full, empty = np.zeros((8, 12), np.uint8), np.zeros((8, 12), np.uint8)
    full[2:4, 3:9] = 255
    Image.fromarray(full).save(folder / "masks" / "c.png")
    Image.fromarray(empty).save(folder / "masks" / "d.png")
    return Manifest.build(
        folder,
        id=list("abcde"),
        path=[f"{name}.png" for name in "abcde"],
        label=["good", "good", "crack", "crack", "stain"],
        mask=["", "", "masks/c.png", "masks/d.png", ""],
    )


def output(maps: np.ndarray, scores: list[float], labels: list[int]) -> dict[str, Any]:
    return {
        "ids": list("abcde"),
        "scores": torch.tensor(scores),
        "targets": torch.tensor(labels),
        "maps": torch.from_numpy(maps),
    }


def test_pixels_are_judged_at_the_pictures_own_size_where_there_is_a_mask(tmp_path: Path) -> None:
    samples = pictures(tmp_path / "p")
    maps = np.zeros((5, 4, 4), np.float32)
    maps[2, 1, 1:3] = (
        1.0  # Row 1 of 4 and columns 1 and 2 are rows 2..3 and columns 3..8 of 8 x 12.
    )
    outputs = [output(maps, [0.1, 0.3, 0.9, 0.2, 0.8], [1, 1, 0, 0, 2])]
    result = AnomalyTask().evaluate(
        outputs, Truth(samples, ("crack", "good", "stain")), config_of()
    )
    scores = result.as_dict()
    assert scores["counts"] == {
        "normal": 2, "anomalous": 3, "with_mask": 1, "empty_mask": 1, "without_mask": 1,
    }  # fmt: skip
    assert scores["headline"]["pixel_auroc"]["value"] > 0.99
    assert scores["headline"]["pixel_auroc"]["n"] == 3, "two good ones and one with a mask"
    expected = compute_auroc([0.1, 0.3, 0.9, 0.2, 0.8], [0, 0, 1, 1, 1])
    assert scores["headline"]["image_auroc"]["value"] == pytest.approx(expected)
    crack, stain = scores["per_defect"]
    assert (crack["name"], crack["n"], stain["n"]) == ("crack", 2, 1)
    assert crack["image_auroc"] == pytest.approx(compute_auroc([0.1, 0.3, 0.9, 0.2], [0, 0, 1, 1]))
    assert stain["image_auroc"] == 1.0
    assert crack["detected"] is None, "there is no threshold"
    assert scores["false_alarms"] is None
    without = AnomalyTask().evaluate(
        outputs, Truth(samples, ("crack", "good", "stain")), config_of("eval.pixels=false")
    )
    assert set(without.as_dict()["headline"]) == {"image_auroc", "image_ap"}


def test_alarms_are_scores_above_the_threshold(tmp_path: Path) -> None:
    samples = pictures(tmp_path / "p")
    limits = Thresholds(
        Threshold(0.25, "conformal", 0.2, n=9, rank=8), None, None, "best_model.pth", ""
    )
    maps = np.zeros((5, 4, 4), np.float32)
    outputs = [output(maps, [0.1, 0.25, 0.9, 0.25, 0.31], [1, 1, 0, 0, 2])]
    task = AnomalyTask()
    result = task.evaluate(
        outputs, Truth(samples, ("crack", "good", "stain"), None, limits), config_of()
    )
    scores = result.as_dict()
    columns, rows = result.rows()
    assert [row[columns.index("alarm")] for row in rows] == [0, 0, 1, 0, 1], (
        "a quarter is not above a quarter"
    )
    assert (scores["false_alarms"]["count"], scores["false_alarms"]["n"]) == (0, 2)
    assert [one["detected"] for one in scores["per_defect"]] == [0.5, 1.0]
    assert scores["headline"]["image_f1"]["value"] == pytest.approx(0.8)
    _, answers = task.predict(outputs, (), limits)
    assert [row[2] for row in answers] == [0, 0, 1, 0, 1]
    assert [row[2] for row in task.predict(outputs, ())[1]] == [""] * 5


def test_pixel_false_alarms_are_the_share_above_the_threshold(tmp_path: Path) -> None:
    samples = pictures(tmp_path / "p")
    limits = Thresholds(
        None, Threshold(0.5, "conformal risk control", 0.2, 9), None, "best_model.pth", ""
    )
    maps = np.full((5, 4, 4), 0.5, np.float32)
    maps[1, :2] = 1.0  # Of 8 rows the first 4; the fifth is a quarter of 1.0 and still above.
    outputs = [output(maps, [0.1, 0.3, 0.9, 0.2, 0.8], [1, 1, 0, 0, 2])]
    truth = Truth(samples, ("crack", "good", "stain"), None, limits)
    found = AnomalyTask().evaluate(outputs, truth, config_of()).as_dict()["pixel_false_alarms"]
    assert found == {"rate": (0 + 5 / 8) / 2, "budget": 0.2, "n": 2}


def test_a_score_that_is_no_number_is_no_silence() -> None:
    limits = Thresholds(Threshold(0.25, "fixed"), None, None, "best_model.pth", "")
    outputs = [output(np.zeros((5, 4, 4), np.float32), [0.1, np.nan, 0.9, 0.2, np.inf], [0] * 5)]
    _, answers = AnomalyTask().predict(outputs, (), limits)
    assert [row[2] for row in answers] == [0, "", 1, 0, 1]


def test_what_is_undefined_is_not_in_the_headline(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "p").root
    Image.new("L", (12, 8), 255).save(folder / "masks" / "c.png")
    samples = Manifest.build(
        folder, id=["c"], path=["c.png"], label=["crack"], mask=["masks/c.png"]
    )
    rows = {"ids": ["c"], "scores": torch.ones(1), "maps": torch.zeros(1, 4, 4)}
    with pytest.warns(UserWarning, match="96 pixels as anomalous and 0 as normal"):
        result = AnomalyTask().evaluate([rows], Truth(samples, ("crack",)), config_of())
    assert result.as_dict()["headline"] == {}
    assert result.summary() == ["image_auroc is undefined: 0 normal and 1 anomalous pictures"]


@pytest.mark.parametrize(("confidence", "enough"), [("null", True), ("0.9", False)])
def test_a_confidence_needs_more_normal_pictures_and_says_so_at_once(
    tmp_path: Path, confidence: str, enough: bool
) -> None:
    count = [str(number) for number in range(25)]  # 19 do for a twentieth, 45 with nine in ten
    held_out = Manifest.build(
        tmp_path, id=count, path=count, label=["good"] * 25, split=["val"] * 25
    )
    config = config_of("threshold.false_alarm_budget=0.05", f"threshold.confidence={confidence}")
    said = AnomalyTask().check_data(Dataset(held_out), config)
    assert (said == []) == enough
    assert enough or "need about 45 held-out" in said[0]


def test_kept_heat_maps_are_of_the_pictures_most_worth_seeing(tmp_path: Path) -> None:
    samples = pictures(tmp_path / "p")
    maps = np.arange(5, dtype=np.float32)[:, None, None] * np.ones((1, 4, 4), np.float32)
    outputs = [output(maps, [0.1, 0.3, 0.9, 0.2, 0.8], [1, 1, 0, 0, 2])]
    kept = (
        AnomalyTask()
        .evaluate(outputs, Truth(samples, ("crack", "good", "stain")), config_of("eval.examples=1"))
        .arrays()
    )
    assert kept["ids"].tolist() == ["d", "b", "c"], "quietest defect, loudest good, loudest defect"
    assert kept["maps"][:, 0, 0].tolist() == [3.0, 1.0, 2.0]
    assert str(kept["fit"]) == "stretch"


def test_thresholds_come_back_as_they_were_written(tmp_path: Path) -> None:
    (tmp_path / "ckpt").mkdir()
    (tmp_path / "ckpt" / "best_model.pth").write_bytes(b"weights")
    from sightline.runs import file_hash

    sha = file_hash(tmp_path / "ckpt" / "best_model.pth")
    one = Threshold(0.1 + 0.2, "conformal", 0.05, 40, 39, None, 0.0244)
    written = Thresholds(one, None, None, "best_model.pth", sha)
    write_thresholds(tmp_path, written)
    assert read_thresholds(tmp_path, "best_model.pth") == written
    assert read_thresholds(tmp_path, "epoch_001.pth") is None, "they are of another checkpoint"


def test_published_protocol_and_a_validation_contradict_each_other() -> None:
    assert config_of("eval.protocol=published").data.val_fraction == 0
    with pytest.raises(ConfigError, match="holds nothing out"):
        config_of("eval.protocol=published", "data.val_fraction=0.3")
