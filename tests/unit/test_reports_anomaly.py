"""What the page and the figures of an anomaly run show, from files alone."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from report_pages import page_of, text_of, write_json

from sightline.errors import RunError
from sightline.reports.anomaly_figures import score_columns, score_edges
from sightline.reports.anomaly_rows import ScoredImage, choose_examples, read_scored_images
from sightline.reports.category_page import write_category_report
from sightline.reports.heat_maps import (
    ColourScale,
    HeatMaps,
    colour_scale,
    draw_panels,
    read_heat_maps,
)
from sightline.reports.mask_outlines import draw_outline, read_mask
from sightline.reports.run_figures import write_run_figures
from sightline.reports.wording import metric_title

EVIL = "</script><b>$x$"
THRESHOLD = {
    "image": {
        "value": 0.5, "method": "conformal", "budget": 0.1, "n": 19, "rank": 18,
        "smallest_budget": 0.05, "confidence": None,
    },
    "pixel": {"value": 0.7, "method": "conformal", "budget": 0.01, "n": 19},
}  # fmt: skip
ALARMS = {
    "count": 1, "n": 3, "rate": 1 / 3, "low": 0.06, "high": 0.79, "budget": 0.1,
    "expected_low": 0, "expected_high": 2,
}  # fmt: skip
CURVES = {
    "roc": {"fpr": [0, 0, 0.5, 1], "tpr": [0, 0.5, 1, 1]},
    "pro": {"fpr": [0, 0.1, 0.3], "pro": [0, 0.8, 0.9], "limit": 0.3},
    "pixel_roc": {"fpr": [0, 0.1, 1], "tpr": [0, 0.9, 1]},
}
ROWS = [
    ("n1", "good", 0.1),
    ("n2", "good", 0.6),
    ("n3", "good", 0.3),
    ("d1", "scratch", 0.2),
    ("d2", "scratch", 0.9),
    ("d3", EVIL, 0.7),
]


def estimate(value: float) -> dict[str, Any]:
    ends = {"low": value - 0.1, "high": min(1.0, value + 0.1)}
    return {"value": value, **ends, "n": 6, "unit": "image", "confidence": 0.95}


def result(**more: Any) -> dict[str, Any]:
    headline = {
        name: estimate(value)
        for name, value in (
            ("image_auroc", 0.75), ("image_ap", 0.8), ("image_f1", 0.667), ("pixel_auroc", 0.91),
            ("pixel_ap", 0.55), ("pixel_aupro", 0.82),
        )
    }  # fmt: skip
    defect = {"n": 2, "image_auroc": 0.9, "pixel_auroc": 0.9, "pixel_aupro": 0.8, "detected": 0.5}
    return {
        "split": "test",
        "task": "anomaly",
        "epoch": 5,
        "checkpoint": "latest_model.pth",
        "n": 6,
        "headline": headline,
        "image_f1_max": 0.857,
        "counts": {
            "normal": 3, "anomalous": 3, "with_mask": 1, "empty_mask": 1, "without_mask": 1,
        },
        "per_defect": [
            {**defect, "name": "scratch"},
            {**defect, "name": EVIL, "n": 1, "image_auroc": 0.4, "detected": 1.0},
        ],
        "threshold": THRESHOLD,
        "false_alarms": ALARMS,
        "pixel_false_alarms": {"rate": 0.0123, "budget": 0.01, "n": 3},
        "curves": {},
        "class_names": ["good", "scratch", EVIL],
        **more,
    }  # fmt: skip


def make_run(
    folder: Path,
    rows: Sequence[tuple[str, str, Any]] = tuple(ROWS),
    *,
    content: dict[str, Any] | None = None,
    pictures: bool = True,
    maps: bool = True,
) -> Path:
    """A run with pictures of 40 x 24 pixels, a hot corner in each map, and masks of defects."""
    content = result() if content is None else content
    limit = ((content.get("threshold") or {}).get("image") or {}).get("value")
    (folder / "predictions").mkdir(parents=True)
    (folder / "pictures").mkdir()
    mask = np.zeros((24, 40), np.uint8)
    mask[4:12, 6:20] = 255
    Image.fromarray(mask).save(folder / "mask.png")
    with (folder / "predictions/test.csv").open("w", encoding="utf-8", newline="") as lines:
        writer = csv.writer(lines)
        writer.writerow(["id", "path", "target", "score", "alarm", "mask"])
        for name, target, score in rows:
            path = f"pictures/{name}.png"
            if pictures:
                Image.new("RGB", (40, 24), (200, 40, 40)).save(folder / path)
            alarm = "" if limit is None else int(float(score or "nan") > limit)
            truth = "" if target == "good" else str(folder / "mask.png")
            writer.writerow([name, path, target, score, alarm, truth])
    if maps:
        heat = np.zeros((len(rows), 8, 8), np.float32)
        heat[:, :2, :2] = np.arange(1, len(rows) + 1)[:, None, None]
        ids = np.array([name for name, _, _ in rows])
        file = folder / "predictions/test.maps.npz"
        np.savez(file, ids=ids, maps=heat, fit=np.array("stretch"))
    write_json(folder / "predictions/test.metrics.json", content)
    write_json(folder / "threshold.json", content.get("threshold") or {})
    info = {"id": "r-1", "name": "tiles", "task": "anomaly", "status": "finished"}
    write_json(folder / "run.json", info)
    return folder


def sections_of(page: str) -> list[str]:
    return re.findall(r'<section id="(\w+)"', page)


def scored(*scores: float, target: str = "good", **more: Any) -> list[ScoredImage]:
    return [ScoredImage(f"{target}{i}", "", target, s, **more) for i, s in enumerate(scores)]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of a run with everything."""
    return page_of(make_run(tmp_path_factory.mktemp("runs") / "run", content=result(curves=CURVES)))


def test_the_page_has_the_sections_of_anomaly_detection_and_no_others(page: str) -> None:
    assert sections_of(page) == [
        "headline", "alarms", "defects", "scores", "heat_maps", "data", "environment",
    ]  # fmt: skip
    assert "onfusion" not in text_of(page)
    assert "orst mistakes" not in text_of(page)
    assert "nan" not in text_of(page).lower().split()


def test_headlines_have_their_names_interval_and_n(page: str) -> None:
    text = text_of(page)

    assert "Image AUROC 0.750 95 % interval 0.650 to 0.850 n = 6 images" in text
    for title in ("Image AP", "Image F1 at the threshold", "Pixel AUROC", "Pixel AP"):
        assert f"{title} 0." in text
    assert "Pixel AUPRO 0.820" in text
    assert "3 normal and 3 anomalous images: 1 with a mask, 1 with an empty mask" in text
    assert "is 0.857; it is found with their truth, so it is a bound and not a result" in text


def test_names_of_anomaly_metrics() -> None:
    names = ("image_auroc", "image_ap", "pixel_aupro", "image_f1")
    assert [metric_title(name) for name in names] == [
        "Image AUROC", "Image AP", "Pixel AUPRO", "Image F1 at the threshold",
    ]  # fmt: skip


def test_false_alarms_say_budget_realised_expected_and_calibration(page: str) -> None:
    text = text_of(page)

    assert "Budget 10 % Realised 33.3 % 95 % interval 6 % to 79 %" in text
    assert "False alarms 1 of 3 normal Expected 0 to 2 Calibrated on 19 normal images" in text
    assert "1 of 3 normal images raise an alarm: within the 0 to 2" in text
    assert "above 0.5000. It was set from 19 normal images" in text
    assert "number 18 of their scores from below. On average" in text
    assert "budget of 1 % of the pixels of normal images; on 3 normal images" in text
    assert "it was 1.2 %" in text


@pytest.mark.parametrize(
    ("count", "words"),
    [(3, "more than the 1 to 2 that chance explains"), (0, "fewer than the 1 to 2")],
)
def test_alarms_outside_of_the_expected_range_stand_out(
    tmp_path: Path, count: int, words: str
) -> None:
    alarms = ALARMS | {"count": count, "expected_low": 1}
    page = page_of(make_run(tmp_path / "run", content=result(false_alarms=alarms)))

    assert words in text_of(page)
    assert '<p class="notice">Test split: ' in page


@pytest.mark.parametrize(
    ("method", "words"),
    [("fixed", "was given, not calibrated"), ("f1", "highest F1 on the validation images")],
)
def test_a_threshold_without_a_guarantee_promises_none(
    tmp_path: Path, method: str, words: str
) -> None:
    threshold = {"image": {"value": 0.5, "method": method}, "pixel": None}
    text = text_of(page_of(make_run(tmp_path / "run", content=result(threshold=threshold))))

    assert words in text
    assert "split-conformal" not in text


def test_without_a_threshold_the_page_says_why_and_what_would_do(tmp_path: Path) -> None:
    content = result(threshold=None, false_alarms=None, pixel_false_alarms=None)
    folder = make_run(tmp_path / "run", content=content)
    reason = {
        "image": {"n": 7, "budget": 0.05, "smallest_budget": 0.125},
        "pixel": None,
        "reason": "7 normal images cannot promise <5 %>",
    }
    write_json(folder / "threshold.json", reason)
    page = page_of(folder)
    text = text_of(page)

    assert "no image raises an alarm: 7 normal images cannot promise &lt;5 %&gt;." in text
    assert "The smallest budget possible with 7 normal images is 12.5 %." in text
    assert "missed" not in text
    assert "false alarm</span>" not in page


def test_defects_stand_weakest_first_and_names_stay_text(page: str) -> None:
    table = page[page.index('<section id="defects"') : page.index('<section id="scores"')]

    assert table.index("&lt;b&gt;$x$") < table.index("scratch")
    assert text_of(table).count("100 %") == 1
    assert "<b>$x$" not in page


def test_examples_are_the_worst_first_with_ties_by_id() -> None:
    images = [
        *scored(0.3, 0.9, 0.1, float("nan")),
        *scored(0.5, 0.2, 0.8, 0.5, 0.95, target="hole", alarm=True),
        *scored(0.99, target="lost", alarm=False),
    ]
    found = choose_examples(images, misses=3, false_alarms=2, hits=5)

    assert [one.id for one in found.misses] == ["hole1", "hole0", "hole3"]
    assert [one.id for one in found.false_alarms] == ["good1", "good0"]
    # A hit raises an alarm, and is no image that is shown already.
    assert [one.id for one in found.hits] == ["hole4", "hole2"]


def test_the_gallery_shows_misses_then_false_alarms_then_hits(tmp_path: Path) -> None:
    rows = [(f"d{i:02}", "scratch", 0.05 * i) for i in range(1, 16)]
    rows += [(f"n{i:02}", "good", 0.06 * i) for i in range(1, 10)]
    page = page_of(make_run(tmp_path / "run", rows))
    gallery = page[page.index('<section id="heat_maps"') :]
    shown = re.findall(r'title="pictures/(\w+)\.png"', gallery)

    lowest = [f"d{i:02}" for i in range(1, 9)]
    assert shown == [*lowest, *(f"n{i:02}" for i in range(9, 1, -1)), "d15", "d14", "d13", "d12"]
    assert gallery.count("<img") == 2 * len(shown)
    assert "10 of 15 anomalous images are missed." in text_of(gallery)
    assert "1 of 9 normal images raise an alarm." in text_of(gallery)
    assert 'alt="The same picture under its heat map, with the outline' in gallery
    assert 'alt="scratch, score 0.050"' in gallery


def test_the_range_of_the_colours_is_said_and_is_that_of_all_maps(page: str) -> None:
    # Maps of 0 with a corner of 1 to 6: nothing below, the upper quartile of the peaks above.
    assert "from 0.000 (nine tenths of a typical map lie below and stay grey) to 4.000" in text_of(
        page
    )


def test_pictures_that_are_gone_are_said_to_be(tmp_path: Path) -> None:
    text = text_of(page_of(make_run(tmp_path / "run", pictures=False)))
    assert text.count("picture not found or not readable") == len(ROWS)


def test_maps_and_masks_that_are_gone_are_said_to_be(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", maps=False)
    (folder / "mask.png").unlink()
    text = text_of(page_of(folder))

    assert "No heat maps were kept for this split." in text
    assert text.count("no heat map kept; mask file not found") == 3
    assert text.count("no heat map") >= len(ROWS)


def test_maps_that_cannot_be_used_have_a_reason(tmp_path: Path) -> None:
    file = tmp_path / "test.maps.npz"
    unreadable = "test.maps.npz could not be read, so no heat map is shown."
    unfit = "test.maps.npz does not hold a square map for each id."
    maps = np.zeros((1, 2, 2), np.float32)

    assert read_heat_maps(file).problem == "No heat maps were kept for this split."
    for content in (b"", b"PK\x03\x04 torn", b"no archive"):
        file.write_bytes(content)
        assert read_heat_maps(file).problem == unreadable
    objects = np.array([{"a": 1}], dtype=object)
    np.savez(file, ids=objects, maps=objects)
    assert read_heat_maps(file).problem == unreadable
    np.savez(file, ids=np.array(["a"]), maps=np.zeros((1, 2, 3)))
    assert read_heat_maps(file).problem == unfit
    np.savez(file, ids=np.array(["a", "b"]), maps=maps)
    assert read_heat_maps(file).problem == unfit
    np.savez(file, ids=np.array(["a"]), maps=maps, fit=np.array("round"))
    assert read_heat_maps(file).problem == unfit
    np.savez(file, ids=np.array(["a"]), maps=maps, fit=np.array("pad"))
    assert (read_heat_maps(file).problem, read_heat_maps(file).fit) == (None, "pad")


def test_images_without_a_score_are_counted_and_not_ranked(tmp_path: Path) -> None:
    rows = [*ROWS, ("n4", "good", "nan"), ("d4", "scratch", "")]
    page = page_of(make_run(tmp_path / "run", rows))

    assert "2 images of the test split have no finite score and are in no figure." in text_of(page)
    assert "pictures/n4.png" not in page
    assert "pictures/d4.png" not in page


def test_a_test_set_of_one_class_says_what_is_not_defined(tmp_path: Path) -> None:
    counts = {"normal": 3, "anomalous": 0, "with_mask": 0, "empty_mask": 0, "without_mask": 0}
    content = result(headline={}, counts=counts, per_defect=[], curves={}, image_f1_max=None)
    folder = make_run(tmp_path / "run", ROWS[:3], content=content)
    page = page_of(folder)
    text = text_of(page)

    assert "Every image is normal, so AUROC and AP are not defined" in text
    assert "There are no pixel scores" in text
    assert "defects" not in sections_of(page)
    assert "Worst misses" not in text
    assert "Worst false alarms" in text
    names = {file.name for file in write_run_figures(folder)}
    assert names == {
        f"{stem}_test.{end}" for stem in ("score_histogram", "heat_maps") for end in ("png", "csv")
    }


def test_a_run_of_another_task_has_none_of_these_sections(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    content = {
        "split": "test", "n": 2, "headline": {"macro_f1": estimate(0.5)},
        "class_names": ["a", "b"], "confusion": [[1, 0], [1, 0]], "per_class": [],
    }  # fmt: skip
    write_json(folder / "run.json", {"id": "r-1", "status": "finished"})
    write_json(folder / "predictions/test.metrics.json", content)
    page = page_of(folder)

    assert sections_of(page) == ["headline", "classes", "data", "environment"]
    assert "no pixel scores" not in page


def test_a_model_computed_without_epochs_is_called_that(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", ROWS[:1])
    row = {"event": "epoch", "epoch": 0, "train_loss": None, "memory_rows": 512, "time_s": 2.5}
    (folder / "metrics.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    page = page_of(folder)
    text = text_of(page)

    assert "Computed, not trained" in text
    assert "Memory rows 512" in text
    assert "in one pass, not trained: there was no epoch to choose." in text
    assert 'class="plot"' not in page
    assert "curves.png" not in {file.name for file in write_run_figures(folder)}


def test_a_trained_model_keeps_its_curves(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    rows = [{"event": "epoch", "epoch": e, "train_loss": 1 / e, "valid_loss": 1} for e in (1, 2)]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "metrics.jsonl").write_text(lines, encoding="utf-8")
    page = page_of(folder)

    assert "curves" in sections_of(page)
    assert "Computed, not trained" not in page


def test_every_figure_has_its_numbers_beside_it(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", content=result(curves=CURVES))
    files = write_run_figures(folder)
    tables = {}
    for file in files:
        if file.suffix == ".csv":
            with file.open(encoding="utf-8", newline="") as lines:
                tables[file.stem] = list(csv.DictReader(lines))

    assert {file.stem for file in files} == {
        "score_histogram_test", "roc_test", "pro_test", "heat_maps_test",
    }  # fmt: skip
    assert sum(int(row["count"]) for row in tables["score_histogram_test"]) == len(ROWS)
    assert tables["roc_test"][1] == {"curve": "image, AUROC 0.750", "fpr": "0", "tpr": "0.5"}
    assert tables["pro_test"][-1] == {"curve": "pro", "fpr": "0.3", "pro": "0.9"}
    ranked = [(row["group"], row["id"], row["alarm"]) for row in tables["heat_maps_test"]]
    assert ranked == [
        ("worst misses", "d1", "0"),
        ("worst misses", "d3", "1"),
        ("worst misses", "d2", "1"),
        ("worst false alarms", "n2", "1"),
        ("worst false alarms", "n3", "0"),
        ("worst false alarms", "n1", "0"),
    ]


def test_one_wild_score_does_not_squeeze_the_histogram() -> None:
    images = [*scored(*np.linspace(1, 2, 30)), *scored(1.5, 1e9, target="hole")]
    edges = score_edges([one.score for one in images])
    columns = score_columns(images)

    assert 2 <= edges[-1] < 4
    # The wild one is counted in the last bar, which says how far it reaches.
    assert columns["high"][-1] == 1e9
    assert columns["count"][-1] == 1
    assert sum(columns["count"]) == 32


@pytest.mark.parametrize("scores", [(0.0,), (3.0, 3.0, 3.0), (-1.0, -1.0)])
def test_equal_scores_still_have_bars(scores: tuple[float, ...]) -> None:
    edges = score_edges(scores)
    assert edges == sorted(set(edges))
    assert sum(score_columns(scored(*scores))["count"]) == len(scores)


def test_one_wild_map_does_not_take_the_colours_from_the_others() -> None:
    maps = np.tile(np.linspace(0, 1, 64, dtype=np.float32).reshape(1, 8, 8), (5, 1, 1))
    calm = colour_scale(maps)
    maps[3] *= 1e6
    maps[4, 0, 0] = np.nan
    wild = colour_scale(maps)

    assert calm is not None
    assert wild is not None
    assert wild.high == pytest.approx(calm.high, rel=0.01)
    assert wild.low == pytest.approx(calm.low, rel=0.05)
    assert colour_scale(np.full((2, 4, 4), np.nan, np.float32)) is None


def test_strength_is_clipped_and_never_nan() -> None:
    values = np.array([[-5.0, 1.0, 2.0, 9.0, np.nan]], np.float32)

    assert ColourScale(0.0, 2.0).strength(values).tolist() == [[0.0, 0.5, 1.0, 1.0, 0.0]]
    assert ColourScale(1.0, 1.0).strength(values).max() == 0.0


@pytest.mark.parametrize("ground", [0, 128, 255])
def test_the_outline_runs_around_the_mask_and_is_seen_on_any_ground(ground: int) -> None:
    mask = np.zeros((9, 9), bool)
    mask[3:6, 3:6] = True
    drawn = draw_outline(np.full((9, 9, 3), ground, np.uint8), mask)

    assert (drawn[4, 4] == ground).all()
    assert (drawn[0, 0] == ground).all()
    assert drawn[2, 4].tolist() == [255, 255, 255]
    assert drawn[1, 4].max() < 255 // 3
    assert drawn[2, 4].min() - drawn[1, 4].max() > 150


@pytest.mark.parametrize(("grey", "found"), [(127, False), (128, True)])
def test_a_pixel_of_a_mask_counts_above_127(tmp_path: Path, grey: int, found: bool) -> None:
    Image.new("RGB", (6, 4)).save(tmp_path / "picture.png")
    Image.new("L", (6, 4), grey).save(tmp_path / "mask.png")
    mask, said = read_mask("mask.png", [tmp_path], tmp_path / "picture.png", (6, 4))

    assert (mask is not None) is found
    assert said == ("" if found else "the mask is empty")


def test_a_crack_thinner_than_a_drawn_pixel_is_kept(tmp_path: Path) -> None:
    crack = np.zeros((400, 400), np.uint8)
    crack[:, 201] = 255
    Image.fromarray(crack).save(tmp_path / "mask.png")
    Image.new("RGB", (400, 400)).save(tmp_path / "picture.png")
    mask, _ = read_mask("mask.png", [tmp_path], tmp_path / "picture.png", (40, 40))

    assert mask is not None
    assert np.flatnonzero(mask.all(axis=0)).tolist() == [20]


def test_a_mask_of_another_size_is_not_drawn(tmp_path: Path) -> None:
    Image.new("L", (5, 4), 255).save(tmp_path / "mask.png")
    Image.new("RGB", (6, 4)).save(tmp_path / "picture.png")
    mask, said = read_mask("mask.png", [tmp_path], tmp_path / "picture.png", (6, 4))

    assert mask is None
    assert said == "the mask has another size than the picture: not drawn"


@pytest.mark.parametrize("fit", ["stretch", "crop", "pad"])
def test_heat_lies_where_the_model_saw_it(tmp_path: Path, fit: Any) -> None:
    """A picture 64 wide and 32 high; the hot spot is at a quarter of its width, half its height."""
    Image.new("RGB", (64, 32), "white").save(tmp_path / "a.png")
    square = np.zeros((32, 32), np.float32)
    # Where (16, 16) of the picture lies in the square that each way of fitting makes of it.
    row, column = {"stretch": (16, 8), "crop": (16, 0), "pad": (16, 8)}[fit]
    square[row - 1 : row + 1, max(column - 1, 0) : column + 1] = 1.0
    maps = HeatMaps({"a": 0}, square[None], fit, ColourScale(0.0, 1.0))
    panels = draw_panels(ScoredImage("a", "a.png", "good", 1.0), maps, [tmp_path])

    assert panels.heat is not None
    pixels = np.asarray(panels.heat).astype(int)
    assert pixels.shape[:2] == (112, 224)
    # White under the map is grey: only heat has a colour.
    rows, columns = np.nonzero(pixels.max(axis=2) - pixels.min(axis=2) > 60)
    assert rows.mean() == pytest.approx(56, abs=6)
    assert columns.mean() == pytest.approx(56, abs=8)
    assert columns.size < 0.05 * pixels[..., 0].size


def test_rows_without_truth_are_passed_over_and_odd_scores_are_none() -> None:
    rows = [
        {"id": "a", "target": "", "score": "1"},
        {"id": "b", "target": "good", "score": "x"},
        {"id": "c", "target": "good", "score": "inf", "alarm": "1"},
        {"id": "d", "target": "good", "prediction": "good"},
    ]
    found = read_scored_images(rows)

    assert [(one.id, one.has_score, one.alarm) for one in found] == [
        ("b", False, None),
        ("c", False, True),
    ]


def write_categories(folder: Path) -> Path:
    rows: list[dict[str, Any]] = []
    for name, value in (("bottle", 0.9), (EVIL, 0.7), ("cable", 0.8)):
        file = f"{len(rows)}/predictions/test.metrics.json"
        headline = {"image_auroc": estimate(value), "pixel_auroc": estimate(value)}
        if name == "bottle":
            headline["pixel_aupro"] = estimate(0.6)
        alarms = None if name == "cable" else ALARMS
        write_json(folder / file, result(headline=headline, false_alarms=alarms, n=10))
        rows.append(
            {
                "category": name,
                "run": f"{len(rows)}",
                "status": "finished",
                "error": None,
                "report": f"{len(rows)}/a report?.html",
                "metrics_file": file,
            }
        )
    failed = {"category": "wood", "run": "w", "report": "", "status": "failed"}
    rows.append({**failed, "error": "DataError: <no> normal images", "metrics_file": None})
    content = {"name": "tiles", "task": "anomaly", "command": ["sightline", "train"], "rows": rows}
    write_json(folder / "categories.json", content)
    return folder


def test_a_mean_of_categories_says_over_how_many_it_is(tmp_path: Path) -> None:
    page = write_category_report(write_categories(tmp_path)).read_text(encoding="utf-8")
    text = text_of(page)

    assert "Mean image AUROC 0.800 mean of 3 of 4 categories" in text
    assert "Mean pixel AUPRO 0.600 mean of 1 of 4 categories" in text
    assert "1 of 4 categories has no result and is in no mean: wood." in text
    assert "2 of 6 normal test images raise an alarm (33.3 %), over the 2 of 4" in text
    assert "DataError: &lt;no&gt; normal images" in page
    assert 'href="0/a%20report%3F.html"' in page
    assert "<b>$x$" not in page


def test_the_summary_has_a_row_for_each_category_and_counts_its_means(tmp_path: Path) -> None:
    write_category_report(write_categories(tmp_path))
    with (tmp_path / "summary.csv").open(encoding="utf-8", newline="") as lines:
        rows = {row["category"]: row for row in csv.DictReader(lines)}

    assert list(rows) == ["bottle", EVIL, "cable", "wood", "mean", "categories in the mean"]
    assert rows["wood"]["status"] == "failed"
    assert rows["wood"]["image_auroc"] == ""
    assert float(rows["mean"]["image_auroc"]) == pytest.approx(0.8)
    assert float(rows["bottle"]["image_auroc_low"]) == pytest.approx(0.8)
    assert [rows["mean"][key] for key in ("false_alarms", "n_normal", "n_test")] == ["2", "6", "30"]
    counted = rows["categories in the mean"]
    assert [counted[key] for key in ("image_auroc", "pixel_aupro", "n_test")] == ["3", "1", "3"]


def test_a_finished_category_without_its_metrics_is_in_no_mean(tmp_path: Path) -> None:
    folder = write_categories(tmp_path)
    (folder / "0/predictions/test.metrics.json").unlink()
    text = text_of(write_category_report(folder).read_text(encoding="utf-8"))

    assert "Mean image AUROC 0.750 mean of 2 of 4 categories" in text
    assert "2 of 4 categories have no result and are in no mean: bottle, wood." in text
    assert "0/predictions/test.metrics.json is missing or cannot be read" in text


def test_categories_that_all_failed_have_no_mean(tmp_path: Path) -> None:
    row = {"category": "a", "run": "a", "report": "", "status": "failed", "error": "no"}
    write_json(tmp_path / "categories.json", {"rows": [row]})
    text = text_of(write_category_report(tmp_path).read_text(encoding="utf-8"))

    assert "No category has finished, so there is no mean." in text


@pytest.mark.parametrize("content", [None, "[]", '{"rows": [1]}', "{"])
def test_a_folder_without_categories_is_refused(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "categories.json").write_text(content, encoding="utf-8")
    with pytest.raises(RunError, match="categories cannot be read"):
        write_category_report(tmp_path)
