from __future__ import annotations

import csv
import statistics
from pathlib import Path

import numpy as np
import pytest

from sightline.errors import DataError
from sightline.reports import canvas
from sightline.reports.inference_figures import (
    class_confidence_figure,
    class_figure,
    probability_figure,
    write_inference_figures,
)
from sightline.reports.prediction_table import read_prediction_table, tenth

STEMS = [
    "predicted_classes",
    "confidence",
    "confidence_by_class",
    "confidence_bins",
    "prediction_summary",
    "probability_heat_map",
]
NAMES = ["cat $5", "a dog with quite a long name, kind 1", "a dog with quite a long name, kind 2"]


@pytest.fixture(autouse=True)
def coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few dots per inch: the pictures are the same and are written several times as fast."""
    monkeypatch.setattr(canvas, "DPI", 40)


def write_table(
    path: Path, probabilities: np.ndarray, names: list[str], *, accepted: bool = False
) -> Path:
    with path.open("w", encoding="utf-8", newline="") as lines:
        writer = csv.writer(lines)
        extra = ["accepted"] if accepted else []
        writer.writerow(["id", "prediction", "confidence", *(f"prob_{n}" for n in names), *extra])
        for place, row in enumerate(probabilities):
            best = int(row.argmax())
            values = [f"s{place}", names[best], row[best], *row]
            writer.writerow([*values, *([str(row[best] > 0.6)] if accepted else [])])
    return path


def probabilities_of(rows: int, classes: int) -> np.ndarray:
    raw = np.random.default_rng(7).random((rows, classes)) ** 4
    return raw / raw.sum(axis=1, keepdims=True)


def columns(path: Path) -> dict[str, list[str]]:
    with path.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    return {name: [row[name] for row in rows] for name in (rows[0] if rows else {})}


def test_the_numbers_behind_the_figures_are_those_of_the_table(tmp_path: Path) -> None:
    chances = probabilities_of(50, 3)
    source = write_table(tmp_path / "p.csv", chances, NAMES, accepted=True)
    files = write_inference_figures(tmp_path / "out", source)
    best, confidence = chances.argmax(axis=1), chances.max(axis=1)

    assert [file.name for file in files] == [f"{s}.{x}" for s in STEMS for x in ("png", "csv")]
    out = {stem: columns(tmp_path / "out" / f"{stem}.csv") for stem in STEMS}
    counts = dict(
        zip(out["predicted_classes"]["class"], out["predicted_classes"]["n"], strict=True)
    )
    assert counts == {name: str(int((best == place).sum())) for place, name in enumerate(NAMES)}
    taken = sum(map(int, out["predicted_classes"]["accepted"]))
    assert taken == int((confidence > 0.6).sum())
    assert [float(v) for v in out["confidence"]["confidence"]] == confidence.tolist()
    for place, name in enumerate(out["confidence_by_class"]["class"]):
        mine = confidence[best == NAMES.index(name)]
        for column, share in (("lower_quartile", 25), ("median", 50), ("upper_quartile", 75)):
            value = float(out["confidence_by_class"][column][place])
            assert value == pytest.approx(np.percentile(mine, share))
    expected, _ = np.histogram(confidence, bins=np.arange(11) / 10)
    assert [int(n) for n in out["confidence_bins"]["n"]] == expected.tolist()
    heat = out["probability_heat_map"]
    for group, name, value in zip(*heat.values(), strict=True):
        column = chances[best == NAMES.index(group), NAMES.index(name)]
        assert float(value) == pytest.approx(column.mean())
    facts = dict(zip(*out["prediction_summary"].values(), strict=True))
    assert float(facts["mean confidence"]) == pytest.approx(statistics.mean(confidence))
    assert int(facts["accepted"]) + int(facts["left to a person"]) == 50


@pytest.mark.parametrize(("rows", "classes"), [(0, 2), (1, 2), (9, 60)])
def test_few_rows_and_many_classes_have_their_figures(
    tmp_path: Path, rows: int, classes: int
) -> None:
    names = [f"class {place}" for place in range(classes)]
    source = write_table(tmp_path / "p.csv", probabilities_of(rows, classes), names)
    assert len(write_inference_figures(tmp_path / "out", source)) == 12
    assert len(columns(tmp_path / "out" / "predicted_classes.csv")["class"]) == classes


def test_names_are_text_and_differ_even_when_cut(tmp_path: Path) -> None:
    table = read_prediction_table(write_table(tmp_path / "p.csv", probabilities_of(40, 3), NAMES))
    for figure in (class_figure(table), class_confidence_figure(table), probability_figure(table)):
        figure.canvas.draw()
        labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
        assert len(set(labels)) == 3
        assert sum(label.startswith("cat $5") for label in labels) == 1


def test_a_table_without_probabilities_has_no_heat_map(tmp_path: Path) -> None:
    source = tmp_path / "p.csv"
    source.write_text("id,prediction,confidence\n1,a,0.5\n", encoding="utf-8")
    stems = [file.stem for file in write_inference_figures(tmp_path / "out", source)[::2]]
    assert stems == STEMS[:-1]


def test_a_tenth_holds_its_lower_end_and_the_last_one_both() -> None:
    assert [tenth(place / 10) for place in range(11)] == [*range(10), 9]
    assert tenth(0.0999999) == 0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("id,score\n1,0.5\n", "lack columns"),
        ("id,prediction,confidence\n1,a,high\n", "line 2"),
        ("id,prediction,confidence\n1,a,0.5\n2,a,1.5\n", "line 3"),
        ("id,prediction,confidence,prob_a\n1,a,0.5,nan\n", "prob_a"),
        ("id,prediction,confidence,accepted\n1,a,0.5,perhaps\n", "perhaps"),
        ("", "lack columns"),
    ],
)
def test_what_cannot_be_drawn_is_named(tmp_path: Path, text: str, words: str) -> None:
    source = tmp_path / "p.csv"
    source.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=words):
        write_inference_figures(tmp_path / "out", source)
    with pytest.raises(DataError, match="cannot be read"):
        write_inference_figures(tmp_path / "out", tmp_path / "gone.csv")
