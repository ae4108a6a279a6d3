from __future__ import annotations

from pathlib import Path

import pytest
from compared_runs import make_run

from sightline.errors import RunError
from sightline.runs import list_runs
from sightline.runs.listing import SORT_KEYS, choose_runs, run_seconds, sorted_runs


def best(metric: str, value: float | None) -> dict[str, object]:
    return {"metric": metric, "value": value, "epoch": 1}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_run(tmp_path, "bee", "reid", order=0, best=best("map", 0.5))
    make_run(tmp_path, "ant", "classify", order=1, best=best("valid_loss", 0.9))
    make_run(tmp_path, "cat", "reid", order=2, best=best("map", 0.7))
    make_run(tmp_path, "dog", "classify", order=3, best=best("valid_loss", 0.2))
    last = make_run(tmp_path, "eel", "anomaly", order=4)
    last.set_status("running")
    return tmp_path


@pytest.mark.parametrize(
    ("key", "names"),
    [
        ("created", "eel dog cat ant bee"),
        ("name", "ant bee cat dog eel"),
        ("task", "eel dog ant cat bee"),
        ("status", "dog cat ant bee eel"),
        ("best", "cat bee dog ant eel"),  # of map the highest, of a loss the lowest, none last
        ("duration", "dog cat ant bee eel"),
    ],
)
def test_runs_come_in_the_order_that_is_asked_for(folder: Path, key: str, names: str) -> None:
    assert " ".join(run["name"] for run in sorted_runs(list_runs(folder), key)) == names


def test_every_key_bears_what_other_versions_and_damage_leave_out() -> None:
    runs = [{"id": "x"}, {"id": "y", "best": 3, "times": None}, {"id": "z", "best": {"value": "a"}}]
    for key in SORT_KEYS:
        assert [run["id"] for run in sorted_runs(runs, key)] == ["x", "y", "z"]


def test_seconds_are_those_from_start_to_end() -> None:
    times = {"started": "2026-01-01T10:00:00+00:00", "ended": "2026-01-01T11:00:30+00:00"}
    assert run_seconds({"times": times}) == 3630.0
    assert run_seconds({"times": {**times, "ended": None}}) is None


def test_runs_are_chosen_by_pattern_id_uuid_and_path_each_once(folder: Path) -> None:
    runs = {run["name"]: run for run in list_runs(folder)}

    def chosen(*references: str, **options: object) -> list[str]:
        return [run["name"] for run in choose_runs(references, folder, **options)]  # type: ignore[arg-type]

    assert chosen("?e?") == ["eel", "bee"]
    assert chosen("bee", runs["dog"]["uuid"], runs["ant"]["path"], "b*") == ["bee", "dog", "ant"]
    assert chosen(runs["cat"]["uuid"][:13]) == ["cat"]
    assert chosen(task="reid", most=1) == ["cat"]
    assert chosen() == ["eel", "dog", "cat", "ant", "bee"]


def test_what_means_no_run_says_so(folder: Path) -> None:
    with pytest.raises(RunError, match="No run fits the pattern 'x\\*'"):
        choose_runs(["x*"], folder)
    with pytest.raises(RunError, match="no run of the task compress"):
        choose_runs([], folder, task="compress")
    with pytest.raises(RunError, match="no runs at all"):
        choose_runs([], folder / "nothing")
