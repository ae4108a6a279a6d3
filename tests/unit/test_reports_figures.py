from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sightline.errors import DataError
from sightline.reports import canvas, figures
from sightline.reports.canvas import save_figure
from sightline.reports.history import collect_history, curve_panels


def epoch(number: int, **values: object) -> dict[str, object]:
    return {"time": "2026-09-01T10:00:00", "event": "epoch", "epoch": number, **values}


def test_history_keeps_the_last_word_on_an_epoch_and_turns_nonsense_into_none() -> None:
    history = collect_history(
        [
            epoch(2, train_loss=0.5, macro_f1=float("nan")),
            epoch(1, train_loss=0.9, valid_loss=None),
            {"event": "evaluate", "epoch": 9, "accuracy": 1.0},
            epoch(2, train_loss=0.4, lr=1e-3),
        ]
    )

    assert history.epochs == [1, 2]
    assert history.columns["train_loss"] == [0.9, 0.4]
    assert history.columns["macro_f1"] == [None, None]
    assert history.columns["lr"] == [None, 1e-3]
    assert "accuracy" not in history.columns
    assert next(iter(history.table())) == "epoch"


def test_folds_are_columns_of_their_own() -> None:
    history = collect_history([epoch(1, fold=0, lr=1.0), epoch(1, fold=1, lr=2.0)])
    assert history.columns == {"lr (fold 0)": [1.0], "lr (fold 1)": [2.0]}


def test_panels_sort_measures_by_what_they_are() -> None:
    row = epoch(1, train_loss=1.0, valid_loss=None, macro_f1=0.5, lr=0.1, grad_norm=7.0, time_s=3.0)
    panels = {panel.title: list(panel.columns) for panel in curve_panels(collect_history([row]))}
    assert panels == {
        "Loss": ["train_loss"],
        "Metric": ["macro_f1"],
        "Learning rate": ["lr"],
        "Other measures": ["grad_norm"],
    }


@pytest.mark.parametrize("epochs", [0, 1, 12])
def test_training_curves_draw_every_value_there_is(tmp_path: Path, epochs: int) -> None:
    rows = [epoch(e, train_loss=1 / e, valid_loss=None if e % 2 else 0.5, lr=0.1) for e in
            range(1, epochs + 1)]  # fmt: skip
    figure = figures.training_curves(rows)
    png, _ = save_figure(figure, tmp_path / "curves", collect_history(rows).table())

    with Image.open(png) as picture:
        assert picture.convert("L").getextrema()[0] < 160
    drawn = {line.get_label(): len(line.get_xdata()) for axes in figure.axes for line in axes.lines}
    expected = {"train_loss": epochs, "valid_loss": epochs // 2, "lr": epochs}
    assert drawn == {name: count for name, count in expected.items() if count}


@pytest.mark.parametrize("classes", [2, 24, 25, 100])
@pytest.mark.parametrize("normalize", [True, False])
def test_confusion_is_drawn_for_few_and_many_classes(classes: int, normalize: bool) -> None:
    matrix = np.random.default_rng(0).integers(0, 9, size=(classes, classes))
    figure = figures.confusion_figure(
        matrix.tolist(), [f"class {i}" for i in range(classes)], normalize=normalize
    )
    figure.canvas.draw()
    axes = figure.axes[0]

    shown = np.asarray(axes.images[0].get_array())
    share = matrix / matrix.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(shown, share if normalize else matrix)
    assert len(axes.texts) == (np.count_nonzero(matrix) if classes <= 24 else 0)
    assert 2 <= len(axes.get_xticklabels()) <= 60


def test_names_are_text_and_no_formula_and_any_script_can_be_saved(tmp_path: Path) -> None:
    names = ["$x_{", "漢字 한글", "_hidden"]
    figure = figures.confusion_figure([[1, 0, 0], [0, 0, 0], [1, 0, 2]], names)
    columns = figures.confusion_columns([[1, 0, 0], [0, 0, 0], [1, 0, 2]], names)
    png, table = save_figure(figure, tmp_path / "deep" / "confusion", columns)

    assert png.stat().st_size > 1000
    with table.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert len(rows) == 9
    assert rows[6] == {"truth": "_hidden", "prediction": "$x_{", "count": "1"}


def test_per_class_bars_are_the_f1_values() -> None:
    rows = [
        {"name": "a$", "precision": 1.0, "recall": 0.5, "f1": 2 / 3, "support": 4},
        {"name": "b", "precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0},
    ]
    figure = figures.per_class_figure(rows)
    figure.canvas.draw()
    axes = figure.axes[0]

    assert [bar.get_width() for bar in axes.patches[:2]] == [2 / 3, 0.0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a$  (4)", "b  (0)"]
    figures.per_class_figure([]).canvas.draw()


def test_image_grid_shows_pictures_and_says_what_is_missing(tmp_path: Path) -> None:
    Image.new("RGB", (30, 20), "red").save(tmp_path / "a.png")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    files = [tmp_path / "a.png", tmp_path / "broken.png", tmp_path / "gone.png"]
    figure = figures.image_grid(files, ["a", "b", "$c"])
    figure.canvas.draw()

    assert [len(axes.images) for axes in figure.axes] == [1, 0, 0]
    assert [axes.texts[0].get_text() for axes in figure.axes[1:]] == ["not readable"] * 2
    figures.image_grid([], []).canvas.draw()


def test_saving_replaces_whole_files_and_refuses_ragged_data(tmp_path: Path) -> None:
    stem = tmp_path / "curve.v2"
    for value in (1.0, None):
        save_figure(figures.training_curves([]), stem, {"epoch": [1], "loss": [value]})

    assert sorted(p.name for p in tmp_path.iterdir()) == ["curve.v2.csv", "curve.v2.png"]
    assert (tmp_path / "curve.v2.csv").read_text() == "epoch,loss\n1,\n"
    with pytest.raises(DataError, match="columns of one length"):
        save_figure(figures.training_curves([]), stem, {"epoch": [1, 2], "loss": [1.0]})


def test_a_saved_figure_has_300_dots_per_inch_unless_it_would_be_endless(tmp_path: Path) -> None:
    for size, dots in (((2.0, 1.0), 300), ((1.0, 100.0), 160)):
        figure = canvas.new_figure(size)
        png, _ = save_figure(figure, tmp_path / "figure", {"n": [1]})
        with Image.open(png) as picture:
            assert picture.size == (size[0] * dots, size[1] * dots)


def test_a_long_name_keeps_its_end() -> None:
    assert canvas.short_name("a" * 30 + "7", 10) == "aaaaa…aaa7"
    assert len(canvas.short_name("x" * 99)) == 24
    assert canvas.short_name("x" * 24) == "x" * 24


def test_no_figure_touches_pyplot() -> None:
    import sys

    figures.training_curves([epoch(1, lr=math.pi)])
    assert (
        "matplotlib.pyplot" not in sys.modules or not sys.modules["matplotlib.pyplot"].get_fignums()
    )
