from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from report_pages import page_of, text_of

from sightline.reports import canvas
from sightline.reports.record import read_run_record
from sightline.reports.reliability import (
    before_and_after,
    of_evaluation,
    reliability_figure,
    write_reliability_figures,
)

BINS = [
    {"low": 0.0, "high": 0.5, "n": 0, "confidence": None, "accuracy": None},
    {"low": 0.5, "high": 0.75, "n": 4, "confidence": 0.6, "accuracy": 0.25},
    {"low": 0.75, "high": 1.0, "n": 1200, "confidence": 0.9, "accuracy": 0.875},
]
CALIBRATION = {
    "method": "temperature",
    "split": "oof",
    "n": 1204,
    "members": {"best_fold0.pth": {"temperature": 1.375}, "v.pth": {"scale": [1, 2], "bias": [0]}},
    "ensemble": {"temperature": 0.8125},
    "before": {"ece": 0.0711, "nll": 0.6012, "brier": 0.3013, "accuracy": 0.8},
    "after": {"ece": 0.0214, "nll": 0.5515, "brier": 0.2816, "accuracy": 0.8},
    "bins_before": BINS,
    "bins_after": [BINS[2]],
    "notes": ["v.pth stays as it is: <b>x"],
}
ESTIMATE = {"value": 0.75, "low": 0.41, "high": 0.93, "n": 12, "unit": "image", "confidence": 0.95}
ECE = {"value": 0.0432, "low": 0.0211, "high": 0.0633, "n": 12, "unit": "image"}


@pytest.fixture(autouse=True)
def coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few dots per inch: the pictures are the same and are written several times as fast."""
    monkeypatch.setattr(canvas, "DPI", 40)


def make_run(folder: Path, **files: Any) -> Path:
    (folder / "predictions").mkdir(parents=True)
    write(folder / "run.json", {"id": "r", "name": "trial", "status": "finished"})
    for name, content in files.items():
        write(folder / f"{name}.json", content)
    return folder


def write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")


def evaluate(folder: Path, split: str, **more: Any) -> None:
    content = {"split": split, "n": 12, "headline": {"macro_f1": ESTIMATE}} | more
    write(folder / "predictions" / f"{split}.metrics.json", content)


def add_folds(folder: Path, count: int) -> None:
    rows = [
        {"fold": n, "best_f1": 0.5 + n / 10, "best_accuracy": 0.625, "best_epoch": 3, "n_val": 7}
        for n in range(count)
    ]
    tree = {"metric": "macro_f1", "fold_results": rows, "oof": {"macro_f1": ESTIMATE}}
    (folder / "fold_results.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
    lines = [
        {"event": "epoch", "fold": n, "epoch": e, "valid_loss": e + n / 2}
        for n in range(count)
        for e in (1, 2, 3)
    ]
    lines.append({"event": "oof", "fold": "all", "epoch": -1, "oof_macro_f1": 0.9})
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "metrics.jsonl").write_text(text, encoding="utf-8")


def test_folds_have_a_table_their_spread_and_the_pooled_score(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    add_folds(folder, 2)
    evaluate(folder, "val")
    text = text_of(page_of(folder))

    assert "Validation (out of fold) split" in text
    assert "the one fold model that was not trained on it" in text
    assert "Each fold keeps the checkpoint" in text
    assert "0 0.5000 0.6250 3 – – 7" in text
    assert "Macro F1 0.5500 0.0707 0.5000 0.6000 0.7500 0.410 to 0.930 (95 %)" in text
    assert "2 folds" in text


def test_a_run_without_folds_has_a_plain_validation_split(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    evaluate(folder, "val")
    text = text_of(page_of(folder))

    assert "Validation split" in text
    assert "out of fold" not in text
    assert "Members" not in text
    assert "Calibration" not in text


def test_marks_of_folds_lie_where_their_values_are(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    add_folds(folder, 3)
    page = page_of(folder)
    dots = [float(x) for x in re.findall(r'class="dot" style="left:([\d.]+)%', page)]
    mean = float(re.findall(r'class="mean" style="left:([\d.]+)%', page)[0])

    # Folds at 0.5, 0.6, 0.7; interval 0.41 to 0.93; 12 % of that range is room at each end.
    start, width = 0.41 - 0.12 * 0.52, 1.24 * 0.52
    assert dots[:3] == pytest.approx([100 * (f - start) / width for f in (0.5, 0.6, 0.7)], abs=0.01)
    assert mean == pytest.approx(dots[1])


def test_curves_of_folds_are_one_chart_for_each_measure(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    add_folds(folder, 3)
    page = page_of(folder)
    found = re.search(r'id="chart-data">(.*?)</script>', page, flags=re.DOTALL)
    assert found is not None
    data = json.loads(found[1])

    assert [chart["title"] for chart in data["charts"]] == ["Validation loss"]
    assert data["charts"][0]["names"] == ["Fold 0", "Fold 1", "Fold 2", "Mean"]
    assert data["charts"][0]["bold"] == 3
    assert data["charts"][0]["data"] == [
        [1, 2, 3],
        *[[1 + n / 2, 2 + n / 2, 3 + n / 2] for n in (0, 1, 2, 1)],
    ]
    assert data["best"] is None
    assert page.count('<tr class="best"><th scope="row">') == 3


def test_calibration_shows_scores_bins_and_what_was_fitted(tmp_path: Path) -> None:
    page = page_of(make_run(tmp_path / "run", calibration=CALIBRATION))
    text = text_of(page)

    assert "Temperature scaling, fitted on 1,204 out-of-fold images" in text
    assert "ECE 0.0711 0.0214" in text
    assert "NLL 0.6012 0.5515" in text
    assert "best_fold0.pth temperature 1.375" in text
    assert "v.pth a scale and a bias for each of 2 classes" in text
    assert "all members together temperature 0.812" in text
    assert page.count("<svg") == 2
    # The bar of a bin: from the ground (200) up by its accuracy.
    assert '<rect class="right" x="150.0" y="25.0" width="50.0" height="175.0">' in page
    assert "n = 1200: 0.875 right, mean confidence 0.900" in page
    assert "<b>x" not in page


def test_an_evaluation_shows_its_ece_and_its_diagram(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    evaluate(folder, "test", calibration={"ece": ECE, "nll": ESTIMATE, "bins": BINS})
    text = text_of(page_of(folder))

    assert "ECE 0.043 95.0 % interval 0.021 to 0.063" not in text
    assert "ECE 0.043 95 % interval 0.021 to 0.063 n = 12 images" in text
    assert text.index("Macro F1 0.750") < text.index("ECE 0.043")
    assert "Test split, as evaluated" in text
    assert "ECE 0.0432, NLL 0.7500, n = 1,204" in text


def test_an_ensemble_shows_its_members_and_weights(tmp_path: Path) -> None:
    members = [
        {"run": "../one", "checkpoint": "best_model.pth", "weight": 0.625},
        {"run": "../<b>x", "checkpoint": None, "weight": 0.375},
    ]
    ensemble = {"members": members, "weighting": "validation"}
    folder = make_run(tmp_path / "run", ensemble=ensemble)
    evaluate(folder, "val")
    page = page_of(folder)

    assert "../one best_model.pth 0.625 ../&lt;b&gt;x the best one of every fold 0.375" in text_of(
        page
    )
    assert "weights chosen on validation images" in page
    assert "An ensemble is not trained" in page


@pytest.mark.parametrize("name", ["calibration.json", "ensemble.json", "fold_results.yaml"])
def test_a_damaged_file_is_named_and_the_page_is_still_written(tmp_path: Path, name: str) -> None:
    folder = make_run(tmp_path / "run")
    (folder / name).write_text("[1, {", encoding="utf-8")

    assert f"{name} could not be read and is not shown." in page_of(folder)
    assert len(read_run_record(folder).notes) == 1


def test_reliability_is_drawn_from_the_bins_and_saved_with_them(tmp_path: Path) -> None:
    evaluations = {"test": {"calibration": {"ece": ECE, "bins": BINS}}, "val": {}}
    files = write_reliability_figures(tmp_path, CALIBRATION, evaluations)

    assert [f.name for f in files[::2]] == ["reliability.png", "reliability_test.png"]
    with (tmp_path / "reliability.csv").open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert [row["n"] for row in rows] == ["0", "4", "1200", "1200"]
    assert [row["accuracy"] for row in rows] == ["", "0.25", "0.875", "0.875"]
    assert rows[3]["diagram"] == "After calibration"
    assert write_reliability_figures(tmp_path, None, {"val": {"calibration": {"bins": []}}}) == []


def test_bars_stand_on_their_bins_and_empty_bins_have_none() -> None:
    figure = reliability_figure(before_and_after(CALIBRATION))
    bars = [(b.get_x(), b.get_width(), b.get_height()) for b in figure.axes[0].patches]

    assert bars == [(0.5, 0.25, 0.25), (0.75, 0.25, 0.875)]
    assert "ECE 0.0711, NLL 0.6012, Brier 0.3013" in figure.axes[0].get_title(loc="left")
    assert of_evaluation("test", {}) is None
