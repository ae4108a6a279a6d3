from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from compared_runs import make_run, write_epochs, write_scores, write_table
from PIL import Image
from scipy.stats import binomtest

from sightline.errors import UsageError
from sightline.reports.comparison import read_comparison
from sightline.reports.comparison_figure import MOST_DRAWN, comparison_figure
from sightline.reports.comparison_page import new_place, write_comparison
from sightline.reports.comparison_pairs import Pair, compare_pairs
from sightline.reports.comparison_settings import differing_settings, read_settings
from sightline.reports.comparison_words import pair_sentences, pairs_note, runs_table
from sightline.reports.record import read_run_record
from sightline.reports.training_page import notes_on, write_training_curves
from sightline.reports.training_panels import summary_facts, training_figure
from sightline.runs import RunFolder, list_runs

IDS = [f"im{n:02}" for n in range(20)]
RIGHT, WRONG = "rose", "lily"


def infos(folder: Path) -> list[dict[str, Any]]:
    """The oldest first."""
    return list_runs(folder)[::-1]


def classified(folder: Path, name: str, answers: list[bool], **options: Any) -> RunFolder:
    """A run whose table says of each picture of a rose what it is taken for, in reversed order."""
    run = make_run(folder, name, **options)
    write_scores(run, accuracy=sum(answers) / len(answers))
    rows = [(i, RIGHT, RIGHT if a else WRONG, 0.9) for i, a in zip(IDS, answers, strict=True)]
    rows = rows[::-1] if options.get("order") else rows
    write_table(run, ["id", "target", "prediction", "confidence"], rows)
    return run


def losing(epochs: int, **more: float) -> list[dict[str, float]]:
    return [{"train_loss": math.exp(-e / 5), **more} for e in range(1, epochs + 1)]


def pair_of(folder: Path, **options: Any) -> Pair:
    (pair,) = compare_pairs(read_comparison(infos(folder)), **options)
    return pair


def test_settings_are_read_as_yaml_reads_them() -> None:
    text = (
        "# a comment\ntask: reid\nloss:\n  kind: arcface\n  parts:\n  - a\n  - b: 2\n"
        'model: {name: "x: y", sizes: [1, 2]}\ndata:\n  note: |\n    two\n    lines\n'
        "list:\n- 1\n- 2\nempty: {}\nnothing: null\n"
    )

    def flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in tree.items():
            inner = flat(value, f"{prefix}{key}.") if isinstance(value, dict) and value else None
            found |= {f"{prefix}{key}": value} if inner is None else inner
        return found

    assert read_settings(text) == flat(yaml.safe_load(text))
    anchored = "model: &one\n  name: a\nteacher: *one\n"
    assert read_settings(anchored) == {"model.name": "a", "teacher.name": "a"}
    with pytest.raises(ValueError, match="no YAML"):
        read_settings("a: [1\nb: }")


def test_settings_that_differ_leave_names_and_places_out() -> None:
    one = {"project.name": "a", "output.exp_dir": "x", "train.lr": 0.1, "loss.kind": "triplet"}
    two = {"project.name": "b", "output.exp_dir": "y", "train.lr": 0.1, "model.name": "m"}
    assert differing_settings([one, two]) == {
        "loss.kind": ["triplet", "–"],
        "model.name": ["–", "m"],
    }


def test_classifiers_are_paired_by_id_and_tested_by_mcnemar(tmp_path: Path) -> None:
    before = [n not in (0, 1, 2, 3, 4, 5, 6, 7) for n in range(20)]
    after = [n not in (0, 19) for n in range(20)]
    classified(tmp_path, "first", before)
    classified(tmp_path, "second", after, order=1)

    pair = pair_of(tmp_path)
    assert (pair.first, pair.second, pair.n) == ("first", "second", 20)
    assert pair.lost == ["im19"]
    assert pair.won == [f"im0{n}" for n in range(1, 8)]
    assert pair.p == pytest.approx(binomtest(1, 8, 0.5).pvalue)
    accuracy = pair.differences["accuracy"]
    assert accuracy.value == pytest.approx(np.mean(after) - np.mean(before))
    assert accuracy.low < accuracy.value < accuracy.high
    said = "\n".join(pair_sentences(pair, named=2))
    assert "wrong before, right now: 7: im01, im02 and 5 more" in said
    assert "McNemar's exact test: p = 0.0703" in said


def test_other_samples_another_truth_and_twice_an_id_are_not_paired(tmp_path: Path) -> None:
    columns = ["id", "target", "prediction"]
    tables = {
        "others": [("a", RIGHT, RIGHT), ("x", RIGHT, RIGHT)],
        "truth": [("a", WRONG, RIGHT), ("b", RIGHT, RIGHT)],
        "twice": [("a", RIGHT, RIGHT), ("a", RIGHT, RIGHT)],
    }
    first = make_run(tmp_path, "first")
    write_table(first, columns, [("a", RIGHT, RIGHT), ("b", RIGHT, RIGHT)])
    for order, (name, rows) in enumerate(tables.items(), start=1):
        write_table(make_run(tmp_path, name, order=order), columns, rows)
    write_table(make_run(tmp_path, "odd", order=4), ["id", "score"], [("a", 1), ("b", 1)])
    make_run(tmp_path, "bare", order=5)

    reasons = [str(pair.reason) for pair in compare_pairs(read_comparison(infos(tmp_path)))]
    parts = [
        "1 in both, 1 only in the first, 1 only in the second",
        "1 samples have another truth",
        "more than once",
        "has no column 'target'",
        "has no predictions/val.csv",
    ]
    assert all(part in reason for part, reason in zip(parts, reasons, strict=True)), reasons
    assert pair_sentences(Pair("a", "b", "because"))[0] == "a and b cannot be paired: because."


def test_recall_of_queries_is_paired_within_one_pool_only(tmp_path: Path) -> None:
    tables = [[0.2, 0.4, 0.6, 1.0], [0.4, 0.4, 0.8, 0.8]]
    for order, values in enumerate(tables):
        run = make_run(tmp_path, f"dpe{order}", "compress", order=order)
        write_scores(run, recall_at_5=0.5, more={"pool": {"rows": 3000}})
        write_table(run, ["id", "recall_at_5"], [(f"q{n}", v) for n, v in enumerate(values)])
    pair = pair_of(tmp_path)
    assert (pair.kind, pair.lost, pair.won) == ("recall_at_5", ["q3"], ["q0", "q2"])
    assert pair.differences["recall_at_5"].value == pytest.approx(0.05)
    assert pair.differences["recall_at_5"].unit == "query"
    assert compare_pairs(read_comparison(infos(tmp_path)), recall=False) == []

    write_scores(run, recall_at_5=0.5, more={"pool": {"rows": 99}})
    comparison = read_comparison(infos(tmp_path))
    assert compare_pairs(comparison)[0].reason == (
        "the one was searched in a pool of 3000, the other in one of 99"
    )
    assert any("(99, 3,000)" in note for note in comparison.notes)


def test_searches_and_detectors_are_paired_by_their_own_columns(tmp_path: Path) -> None:
    reid = ["id", "identity", "first_rank", "average_precision", "inverse_penalty"]
    retrieve = ["id", "target", "object", "first_rank", "ap_at_r"]
    anomaly = ["id", "target", "score", "alarm"]
    tables: dict[str, tuple[list[str], list[Any], list[Any]]] = {
        "reid": (
            reid,
            [("a", "p1", 1, 1.0, 1.0), ("b", "p1", 3, 0.5, 0.5), ("c", "p2", 0, "", "")],
            [("a", "p1", 2, 0.5, 0.5), ("b", "p1", 1, 1.0, 0.9), ("c", "p2", 0, "", "")],
        ),
        "retrieve": (
            retrieve,
            [("a", "rose", "r1", 1, 0.5), ("b", "lily", "l1", 4, 0.1)],
            [("a", "rose", "r1", 2, 0.5), ("b", "lily", "l1", 1, 0.6)],
        ),
        "anomaly": (
            anomaly,
            [("b", "good", 0.3, 0), ("a", "dent", 0.1, 0), ("c", "dent", 0.9, 1)],
            [("b", "good", 0.3, 1), ("a", "dent", 0.5, 1), ("c", "dent", 0.9, 1)],
        ),
    }
    pairs = {}
    for task, (columns, *both) in tables.items():
        for order, rows in enumerate(both):
            write_table(make_run(tmp_path / task, f"r{order}", task, order=order), columns, rows)
        pairs[task] = pair_of(tmp_path / task)

    flips = {task: (pair.lost, pair.won) for task, pair in pairs.items()}
    assert flips == {
        "reid": (["a"], ["b"]),
        "retrieve": (["a"], ["b"]),
        "anomaly": (["b"], ["a"]),
    }
    values = {task: {k: v.value for k, v in p.differences.items()} for task, p in pairs.items()}
    assert values["reid"] == pytest.approx({"rank_1": 0.0, "map": 0.0, "minp": -0.05})
    assert pairs["reid"].differences["map"].unit == "identity"
    assert values["retrieve"] == pytest.approx({"recall_at_1": 0.0, "map_at_r": 0.25})
    assert values["anomaly"] == pytest.approx({"image_auroc": 0.5})


def test_runs_of_two_tasks_and_single_runs_are_refused(tmp_path: Path) -> None:
    make_run(tmp_path, "one")
    with pytest.raises(UsageError, match="not two runs"):
        read_comparison(infos(tmp_path))
    make_run(tmp_path, "two", "reid", order=1)
    with pytest.raises(UsageError, match=r"classify \(1, such as one_.*reid \(1, such as two_"):
        read_comparison(infos(tmp_path))


def test_missing_evaluations_damage_and_equal_names_are_told(tmp_path: Path) -> None:
    first = make_run(tmp_path, "same", config="loss:\n  function: DPLossV2\n")
    write_scores(first, accuracy=0.9)
    second = make_run(tmp_path, "same", order=1)
    second.config_file.write_text("a: [")
    (second.predictions / "val.metrics.json").write_text("{")
    second.metrics_file.write_text('{"event": "epoch", "epoch": 7}\n{"event": "ep')
    third = make_run(tmp_path, "gone", order=2)
    (third.path / "run.json").write_text("{")

    comparison = read_comparison(infos(tmp_path))
    labels = [run.label for run in comparison.runs]
    assert labels == [f"same-{run.id[-6:]}" for run in (first, second)]
    notes = "\n".join(comparison.notes)
    assert f"sightline evaluate {second.id} --split val" in notes
    assert f"{third.path.name} is left out" in notes
    assert f"config.yaml of {second.path.name} cannot be read" in notes
    assert f"of {second.id} cannot be read as scores of val" in notes
    head, one, two = runs_table(comparison, most=10)
    assert one[head.index("loss")] == "DPLossV2"
    assert one[head.index("Accuracy")] == "0.900 [0.890, 0.910]"
    assert (two[head.index("epochs")], two[head.index("Accuracy")]) == ("7", "–")


@pytest.mark.parametrize("count", [2, 12, MOST_DRAWN + 5])
def test_the_picture_shows_every_run_that_it_says(tmp_path: Path, count: int) -> None:
    for order in range(count):
        run = make_run(tmp_path, f"run{order}", "compress", order=order)
        rows = losing(5, train_pairdist=0.0, train_rank=1.0 if order else 0.0, recall_at_5=0.5)
        write_epochs(run, rows[: order % 3 * 2])
        write_scores(run, recall_at_5=0.5 + order / 1000)
    comparison = read_comparison(infos(tmp_path))
    figure = comparison_figure(comparison, recall_history=True)
    figure.canvas.draw()
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert "Training loss, log scale" in titles
    assert "Pair-distance term" in titles  # only zeros: linear, not an error
    assert {"Recall@5 by epoch", "Recall@5 on val"} <= set(titles)
    drawn, named = min(count, MOST_DRAWN), min(count, 10)
    loss = figure.axes[titles.index("Training loss, log scale")]
    with_rows = [n for n in range(drawn) if n % 3]
    faint = sum(len(one.get_segments()) for one in loss.collections)  # type: ignore[attr-defined]
    assert faint == len([n for n in with_rows if n >= 10])
    assert len(loss.lines) == len([n for n in with_rows if n < named])
    assert ("of which the first" in figure.texts[0].get_text()) == (count > MOST_DRAWN)
    without = comparison_figure(comparison, recall=False)
    assert not [axes for axes in without.axes if "ecall" in axes.get_title(loc="left")]
    assert (pairs_note(comparison, []) is None) == (count <= 10)


def test_runs_with_nothing_say_so_in_the_picture(tmp_path: Path) -> None:
    for order in range(2):
        make_run(tmp_path, f"run{order}", order=order)
    figure = comparison_figure(read_comparison(infos(tmp_path)))
    assert "None of the runs has an epoch" in figure.texts[1].get_text()


def test_files_hold_the_table_and_need_nothing_else(tmp_path: Path) -> None:
    for order, rate in enumerate((0.1, 0.2)):
        run = classified(tmp_path, f"r{order}", [True] * 20, order=order,
                         config=f"train:\n  lr: {rate}\n")  # fmt: skip
        write_epochs(run, losing(3))
    comparison = read_comparison(infos(tmp_path))
    pairs = compare_pairs(comparison)
    png, table, html = write_comparison(comparison, pairs, tmp_path / "out" / "c.png")

    with Image.open(png) as picture:
        assert picture.info["dpi"] == pytest.approx((300, 300), abs=0.1)
    rows = list(csv.DictReader(io.StringIO(table.read_text())))
    assert [row["train.lr"] for row in rows] == ["0.1", "0.2"]
    assert [row["accuracy_value"] for row in rows] == ["1.0", "1.0"]
    page = html.read_text()
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "<td>0.2</td>" in page
    assert "on the same 20 samples" in page
    first = new_place(tmp_path / "experiments" / "train")
    first.parent.mkdir(parents=True)
    assert first.parent.parent == tmp_path / "experiments" / "comparisons"


@pytest.mark.parametrize("task", ["classify", "compress", "reid"])
@pytest.mark.parametrize("epochs", [0, 1, 9])
@pytest.mark.parametrize("recall", ["final", "history", "none"])
def test_a_training_is_drawn_however_far_it_came(
    tmp_path: Path, task: str, epochs: int, recall: Any
) -> None:
    run = make_run(tmp_path, "run", task)
    rows: list[dict[str, Any]] = [dict(row) for row in losing(epochs, lr=0.1, recall_at_5=0.4)]
    for row in rows:
        row |= {"train_rank": 0.0, "train_pairdist": math.nan, "time_s": 2.0, "novelty": "x"}
    write_epochs(run, rows)
    figure = training_figure(read_run_record(run.path), recall=recall)
    figure.canvas.draw()
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles[-1] == "Summary"
    assert any("ecall" in title for title in titles) == (epochs > 0 and recall != "none")
    if epochs and task == "compress":
        assert titles[:3] == ["Total loss", "Rank term", "All together"]
    facts = summary_facts(read_run_record(run.path))
    assert facts["epochs"] == str(epochs)
    assert facts["time per epoch"] == ("2.00 s" if epochs else "–")


def test_recall_bars_have_interval_pool_and_what_is_to_be_beaten(tmp_path: Path) -> None:
    run = make_run(tmp_path, "run", "compress")
    write_epochs(run, losing(2, recall_at_5=0.4, recall_at_10=0.5))
    pca = {"name": "pca", "scores": {"recall_at_5": {"value": 0.61}}}
    more = {"pool": {"rows": 3000}, "baselines": [pca]}
    write_scores(run, recall_at_5=0.7, recall_at_10=0.8, more=more)
    figure = training_figure(read_run_record(run.path))
    (axes,) = [one for one in figure.axes if "recall" in one.get_title(loc="left")]
    assert axes.get_title(loc="left") == "kNN recall, evaluated on val, pool of 3,000"
    assert [bar.get_height() for bar in axes.patches] == [0.7, 0.8]  # type: ignore[attr-defined]
    lines = [np.asarray(line.get_ydata()).tolist() for line in axes.lines]
    assert lines == [pytest.approx([0.69, 0.71]), [0.61, 0.61], pytest.approx([0.79, 0.81])]


def test_damage_and_other_versions_are_noted(tmp_path: Path) -> None:
    run = make_run(tmp_path, "run", versions=None)
    run.metrics_file.write_text('{"event": "epoch", "epoch": 1, "train_loss": 0.5}\nrubbish\n{"ev')
    info = json.loads((run.path / "run.json").read_text())
    info |= {"versions": {"sightline": "99.1"}, "future": {"key": 1}}
    del info["best"]
    (run.path / "run.json").write_text(json.dumps(info))
    record = read_run_record(run.path)
    notes = "\n".join(notes_on(record))
    assert "line 2, 3 could not be read" in notes
    assert "run.json has no best" in notes
    assert "written by Sightline 99.1" in notes
    (page,) = write_training_curves(record, tmp_path / "p.html", recall="final")
    assert "written by Sightline 99.1" in page.read_text()
    files = write_training_curves(record, tmp_path / "p.png", recall="final")
    assert [file.name for file in files] == ["p.png", "p.csv"]
    assert files[1].read_text() == "epoch,train_loss\n1,0.5\n"
