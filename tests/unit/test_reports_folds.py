from __future__ import annotations

import csv
import json
import statistics
from pathlib import Path
from typing import Any

import pytest
import yaml

from sightline.reports import canvas
from sightline.reports.fold_figures import fold_against_figure, fold_curves, write_fold_figures
from sightline.reports.fold_scores import FoldScores, read_fold_scores
from sightline.reports.history import collect_history, curve_panels
from sightline.reports.run_figures import write_run_figures

F1 = [0.81, 0.92, 0.77]
ACCURACY = [0.83, 0.9, 0.78]
OOF = {"value": 0.85, "low": 0.8, "high": 0.89, "n": 30, "unit": "image", "confidence": 0.95}


@pytest.fixture(autouse=True)
def coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few dots per inch: the pictures are the same and are written several times as fast."""
    monkeypatch.setattr(canvas, "DPI", 40)


def results(count: int = 3) -> dict[str, Any]:
    rows = [
        {
            "fold": fold,
            "best_f1": F1[fold],
            "best_accuracy": ACCURACY[fold],
            "best_epoch": fold + 2,
            "epochs": 4,
            "n_fit": 20,
            "n_val": 10,
            "seconds": 1.5,
            "model_path": f"ckpt/best_fold{fold}.pth",
        }
        for fold in range(count)
    ]
    return {"metric": "macro_f1", "fold_results": rows, "oof": {"macro_f1": OOF, "accuracy": OOF}}


def rows_of(folds: int, epochs: int) -> list[dict[str, Any]]:
    return [
        {
            "event": "epoch",
            "fold": fold,
            "epoch": epoch,
            "train_loss": 1.0 / epoch + fold,
            "valid_loss": 2.0 / epoch + fold,
            "macro_f1": 0.1 * epoch + 0.01 * fold,
            "lr": 0.001,
        }
        for fold in range(folds)
        for epoch in range(1, epochs + 1 - fold)
    ]


def scores(count: int = 3) -> FoldScores:
    read = read_fold_scores(results(count))
    assert read is not None
    return read


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def test_several_folds_have_a_chart_for_each_measure_and_the_mean_where_all_are() -> None:
    panels = curve_panels(collect_history(rows_of(3, 4)))

    assert [panel.title for panel in panels] == ["train_loss", "valid_loss", "macro_f1", "lr"]
    assert all(panel.by_measure for panel in panels)
    assert list(panels[2].columns) == [*(f"macro_f1 (fold {k})" for k in range(3)), "mean of folds"]
    mean = panels[0].columns["mean of folds"]
    # The last fold has two epochs: after them there is no mean of all.
    assert mean[:2] == pytest.approx([1.0 + 1, 0.5 + 1])
    assert mean[2:] == [None, None]


def test_a_single_fold_keeps_the_charts_of_a_run() -> None:
    panels = curve_panels(collect_history(rows_of(1, 2)))
    assert [panel.title for panel in panels] == ["Loss", "Metric", "Learning rate"]


def test_every_figure_of_folds_is_a_sharp_picture_beside_its_numbers(tmp_path: Path) -> None:
    files = write_fold_figures(tmp_path, scores(), rows_of(3, 4))
    stems = ["fold_scores", "fold_f1_accuracy", "fold_statistics", "fold_history", "fold_losses"]

    assert [file.name for file in files] == [f"{s}.{x}" for s in stems for x in ("png", "csv")]
    folds = table(tmp_path / "fold_scores.csv")
    assert [float(row["f1"]) for row in folds] == F1
    assert [float(row["accuracy"]) for row in folds] == ACCURACY
    assert [row["best_epoch"] for row in folds] == ["2", "3", "4"]
    history = table(tmp_path / "fold_history.csv")
    assert [row["epoch"] for row in history] == ["1", "2", "3", "4"]
    assert float(history[1]["macro_f1 (fold 2)"]) == pytest.approx(0.22)
    assert float(history[1]["macro_f1 (mean of folds)"]) == pytest.approx(0.21)
    assert history[3]["macro_f1 (fold 2)"] == ""
    assert {"train_loss (fold 0)", "valid_loss (mean of folds)"} <= set(
        table(tmp_path / "fold_losses.csv")[0]
    )


def test_statistics_are_those_of_the_folds_and_the_pooled_score_stands_apart() -> None:
    found = scores().statistics()

    assert found["measure"] == ["Macro F1", "Accuracy"]
    assert found["mean"] == pytest.approx([statistics.mean(F1), statistics.mean(ACCURACY)])
    by_hand = (sum((x - sum(F1) / 3) ** 2 for x in F1) / 2) ** 0.5
    assert found["std"][0] == pytest.approx(by_hand)
    assert (found["min"][0], found["max"][0]) == (0.77, 0.92)
    assert (found["out_of_fold"][0], found["low"][0], found["high"][0]) == (0.85, 0.8, 0.89)


def test_one_fold_has_no_spread_and_missing_scores_are_no_zeros(tmp_path: Path) -> None:
    one = scores(1)
    tree = results(2)
    tree["fold_results"][0] |= {"best_f1": None, "best_accuracy": float("nan")}
    half = read_fold_scores(tree)
    assert half is not None

    assert one.statistics()["std"] == [None, None]
    assert half.spreads()[0].values == [F1[1]]
    assert half.spreads()[0].folds == [1]
    for number, read in enumerate((one, half)):
        assert len(write_fold_figures(tmp_path / str(number), read, [])) == 6


@pytest.mark.parametrize(
    ("count", "folds", "stems"),
    [
        (None, 0, []),
        (None, 1, []),
        (None, 2, ["fold_history", "fold_losses"]),
        (0, 0, []),
    ],
)
def test_without_scores_there_are_curves_of_several_folds(
    tmp_path: Path, count: int | None, folds: int, stems: list[str]
) -> None:
    files = write_fold_figures(
        tmp_path, None if count is None else scores(count), rows_of(folds, 3)
    )
    assert [file.stem for file in files[::2]] == stems


def test_each_fold_is_a_line_and_the_mean_a_bold_one() -> None:
    figure = fold_curves(collect_history(rows_of(3, 3)), ("macro_f1",))
    lines = {line.get_label(): line for line in figure.axes[0].lines}

    assert list(lines) == ["fold 0", "fold 1", "fold 2", "mean"]
    assert list(lines["fold 1"].get_ydata()) == pytest.approx([0.11, 0.21])
    assert lines["mean"].get_linewidth() > lines["fold 0"].get_linewidth()


def test_a_point_of_each_fold_lies_at_its_accuracy_and_f1() -> None:
    points = fold_against_figure(scores()).axes[0].collections[0].get_offsets()
    assert [tuple(point) for point in points.tolist()] == list(zip(ACCURACY, F1, strict=True))


def test_a_file_that_holds_no_folds_is_none() -> None:
    assert read_fold_scores(None) is None
    assert read_fold_scores({"fold_results": "many"}) is None
    assert read_fold_scores({"fold_results": [3]}) is None


def test_plot_writes_the_figures_of_everything_a_run_has(tmp_path: Path) -> None:
    (tmp_path / "predictions").mkdir()
    (tmp_path / "run.json").write_text(json.dumps({"id": "r"}), encoding="utf-8")
    (tmp_path / "fold_results.yaml").write_text(yaml.safe_dump(results()), encoding="utf-8")
    bins = [{"low": 0.0, "high": 1.0, "n": 2, "confidence": 0.6, "accuracy": 0.5}]
    calibration = {"method": "temperature", "bins_before": bins, "bins_after": bins}
    (tmp_path / "calibration.json").write_text(json.dumps(calibration), encoding="utf-8")
    predictions = tmp_path / "predictions"
    (predictions / "val.csv").write_text("id,prediction,confidence,prob_a\n1,a,1.0,1.0\n")
    (predictions / "other.csv").write_text("id,score\n1,0.5\n")
    names = {file.relative_to(tmp_path / "figures").as_posix() for file in
             write_run_figures(tmp_path)}  # fmt: skip

    assert {"fold_scores.png", "reliability.csv", "predictions_val/confidence.png"} <= names
    assert not any("other" in name for name in names)
