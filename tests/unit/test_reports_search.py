from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any

import pytest

from sightline.reports import canvas
from sightline.reports.search_figures import (
    convergence_figure,
    progress_figure,
    search_figures,
    top_figure,
    write_search_figures,
)
from sightline.reports.search_page import write_search_page
from sightline.reports.search_slices import slices_figure
from sightline.reports.search_trials import read_trials

STEMS = ["progress", "best", "importance", "top", "summary", "convergence", "slices"]
IMPORTANCE = {"optim.lr": 0.25, "model.name": 0.75}


@pytest.fixture(autouse=True)
def coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few dots per inch: the pictures are the same and are written several times as fast."""
    monkeypatch.setattr(canvas, "DPI", 40)


def trial(number: int, state: str = "finished", value: float | None = 0.5, **more: Any) -> Any:
    return {
        "number": number,
        "state": state,
        "value": value,
        "seconds": 2.0 + number,
        "params": {"optim.lr": 10.0 ** (-1 - number % 5), "model.name": f"net $_{number % 2}"},
        "intermediate": {1: 0.1, 2: 0.2},
        **more,
    }


MIXED = [
    trial(2, value=0.7),
    trial(0, value=0.6),
    trial(1, "pruned", None, intermediate={"1": 0.3, "10": 0.45, "9": 0.2}),
    trial(3, "failed", None, intermediate={}, error="TrainingError: <b>lost"),
    trial(4, value=0.65),
    trial(5, "running", None, seconds=None),
    trial(6, "waiting", None, seconds=None, intermediate={}),
    trial(7, value=0.7),
]


def columns(path: Path) -> dict[str, list[str]]:
    with path.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    return {name: [row[name] for row in rows] for name in (rows[0] if rows else {})}


def test_the_numbers_behind_the_figures_are_those_of_the_trials(tmp_path: Path) -> None:
    files = write_search_figures(tmp_path, MIXED, importance=IMPORTANCE)
    out = {stem: columns(tmp_path / f"search_{stem}.csv") for stem in STEMS}

    assert [f.name for f in files] == [f"search_{s}.{x}" for s in STEMS for x in ("png", "csv")]
    assert out["progress"]["trial"] == [str(n) for n in range(8)]
    assert out["progress"]["value"] == ["0.6", "", "0.7", "", "0.65", "", "", "0.7"]
    assert out["progress"]["last_value"][1] == "0.45"
    assert out["progress"]["model.name"][3] == "net $_1"
    assert out["best"] == {"trial": ["0", "2", "4", "7"], "best": ["0.6", "0.7", "0.7", "0.7"]}
    assert out["importance"]["parameter"] == ["model.name", "optim.lr"]
    assert out["top"]["trial"] == ["2", "7", "4", "0"]
    counts = dict(zip(out["summary"]["state"], out["summary"]["n"], strict=True))
    assert counts == {"finished": "4", "pruned": "1", "failed": "1", "running": "1", "waiting": "1"}
    assert float(out["summary"]["seconds"][0]) == 2 + 4 + 6 + 9
    assert [e for t, e in zip(out["convergence"]["trial"], out["convergence"]["epoch"], strict=True)
            if t == "1"] == ["1", "9", "10"]  # fmt: skip
    assert out["slices"]["trial"] == ["0", "2", "4", "7"]


def test_a_lower_value_may_be_the_better_one() -> None:
    trials = read_trials(MIXED, higher_is_better=False)
    assert [one.number for one in trials.ranked()] == [0, 4, 2, 7]
    assert trials.best_so_far()["best"] == [0.6, 0.6, 0.6, 0.6]


def test_a_pruned_trial_is_a_dashed_line_and_the_best_a_bold_one() -> None:
    lines = {
        line.get_label(): line for line in convergence_figure(read_trials(MIXED)).axes[0].lines
    }

    assert lines["pruned"].get_linestyle() == "--"
    assert list(lines["pruned"].get_xdata()) == [1, 9, 10]
    assert lines["best, trial 2"].get_linewidth() > lines["finished"].get_linewidth()
    assert lines["finished"].get_linestyle() == "-"


def test_each_state_has_its_mark_and_a_trial_without_value_lies_on_the_ground() -> None:
    axes = progress_figure(read_trials(MIXED)).axes[0]
    marks = {group.get_label(): group.get_offsets().tolist() for group in axes.collections}

    assert marks["finished (4)"] == [[0, 0.6], [2, 0.7], [4, 0.65], [7, 0.7]]
    assert marks["pruned (1)"] == [[1, 0.45]]
    assert marks["failed (1)"][0][1] < 0.2


def test_slices_show_every_finished_trial_on_a_fitting_axis() -> None:
    axes = slices_figure(read_trials(MIXED)).axes

    assert [one.get_title(loc="left") for one in axes] == ["optim.lr", "model.name"]
    assert axes[0].get_xscale() == "log"
    assert [label.get_text() for label in axes[1].get_xticklabels()] == ["net $_0", "net $_1"]
    assert len(axes[0].collections[0].get_offsets()) == 4
    even = [trial(n, params={"drop": 0.01 + n * 0.05}) for n in range(11)]
    assert slices_figure(read_trials(even)).axes[0].get_xscale() == "linear"


def test_top_trials_are_ten_with_their_settings() -> None:
    figure = top_figure(read_trials([trial(n, value=n / 100) for n in range(30)]))
    texts = [text.get_text() for text in figure.axes[0].texts]

    assert len(texts) == 10
    assert texts[0].startswith("0.2900")
    assert "model.name=net $_1" in texts[0]


@pytest.mark.parametrize(
    "trials",
    [
        [],
        [trial(0)],
        [trial(0, value=None, intermediate=None, params=None, seconds=None)],
        [trial(n, "failed", None, intermediate={}) for n in range(3)],
        [trial(n, "waiting", None, seconds=None, intermediate={}) for n in range(2)],
    ],
)
def test_a_search_with_little_has_every_figure_and_a_page(tmp_path: Path, trials: Any) -> None:
    for figure in search_figures(read_trials(trials), {}).values():
        figure.canvas.draw()
    page = write_search_page(tmp_path, {}, trials, importance={}).read_text(encoding="utf-8")
    assert f"{len(trials)} trial" in page


def test_the_page_has_the_best_settings_the_errors_and_no_address(tmp_path: Path) -> None:
    summary = {
        "study": "</script><b>x",
        "metric": "macro_f1",
        "storage": "postgresql://me:secret@host/db",
        "best": {"number": 2},
        "pruner": None,
    }
    path = write_search_page(tmp_path, summary, MIXED, importance=IMPORTANCE)
    page = path.read_text(encoding="utf-8")
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)

    assert path == tmp_path / "search.html"
    assert policy is not None
    assert "default-src 'none'" in policy[1]
    assert "script-src 'none'" in policy[1]
    assert "<script" not in page
    assert "<b>x" not in page
    assert "<b>lost" not in page
    assert "TrainingError: &lt;b&gt;lost" in page
    assert "Highest macro_f1, trial 2" in page
    assert "secret" not in page
    assert "postgresql://host/db" in page
    assert page.count('src="data:image/png;base64,') == 7
    assert not re.search(r'(src|href)="(?!#|data:)', page)


def test_a_search_in_which_all_failed_says_so_with_equal_errors_together(tmp_path: Path) -> None:
    trials = [trial(n, "failed", None, error="no memory" if n else "no file") for n in range(4)]
    page = write_search_page(tmp_path, {}, trials, importance={}).read_text(encoding="utf-8")

    assert "Every trial failed" in page
    assert page.count("no memory") == 1
    assert "Trials 1, 2, 3" in page
    assert page.index("no memory") < page.index("no file")


def test_many_trials_keep_the_page_small(tmp_path: Path) -> None:
    trials = [trial(n, value=(n * 37 % 101) / 101) for n in range(1200)]
    page = write_search_page(tmp_path, {}, trials, importance=IMPORTANCE).read_text(
        encoding="utf-8"
    )

    assert len(page) < 1_500_000
    assert page.count('<th scope="row">') == 1000
    assert "The first 1000 of 1,200" in page


def test_a_state_that_nobody_knows_is_refused() -> None:
    with pytest.raises(ValueError, match="'done'"):
        read_trials([trial(0, "done")])
