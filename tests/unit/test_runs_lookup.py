"""RUN is a path, an id, a beginning of it, or latest; a wrong one is answered with what is near."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from sightline.errors import RunError
from sightline.runs import RunFolder, find_run, list_runs, publish_latest

START = datetime(2026, 9, 1, 22, 0, 0)


def make(exp_dir: Path, name: str = "reid-r50", *, hours: int = 0, status: str = "") -> RunFolder:
    now = START + timedelta(hours=hours)
    run = RunFolder.create(
        exp_dir, name=name, task="reid", command=[], config_text="", seeds={}, now=now
    )
    if status:
        run.set_status(status)
    return run


def test_runs_are_listed_newest_first_across_days(tmp_path: Path) -> None:
    runs = [make(tmp_path, hours=hours) for hours in (1, 5, 0, 3)]
    listed = list_runs(tmp_path)
    assert [run["id"] for run in listed] == [runs[i].id for i in (1, 3, 0, 2)]
    assert listed[0] == runs[1].info | {"path": str(runs[1].path)}


def test_no_folder_is_no_runs(tmp_path: Path) -> None:
    assert list_runs(tmp_path / "nowhere") == []


def test_only_run_json_is_needed_and_other_things_are_no_runs(tmp_path: Path) -> None:
    run = make(tmp_path, status="finished")
    publish_latest(run, tmp_path)
    (tmp_path / "notes").mkdir()
    (run.path.parent / "notes").mkdir()
    (run.path.parent / "file").write_text("")
    (run.path.parent / f".{run.id}.new").mkdir()
    run.config_file.unlink()
    assert [found["id"] for found in list_runs(tmp_path)] == [run.id]


@pytest.mark.parametrize("content", [None, "", '{"id": "x", "sta', "[1]", '{"id": 3}'])
def test_a_damaged_run_is_listed_in_its_place(tmp_path: Path, content: str | None) -> None:
    old, damaged, new = (make(tmp_path, hours=hours) for hours in (0, 1, 2))
    file = damaged.path / "run.json"
    file.unlink() if content is None else file.write_text(content)
    listed = list_runs(tmp_path)
    assert [run["id"] for run in listed] == [new.id, damaged.id, old.id]
    assert listed[1]["status"] == "damaged"
    assert listed[1]["path"] == str(damaged.path)
    assert "run.json" in listed[1]["error"]


def test_a_run_is_found_by_each_kind_of_reference(tmp_path: Path) -> None:
    run, _ = make(tmp_path, "reid-r50"), make(tmp_path, "trash")
    (run.ckpt / "best_model.pth").write_bytes(b"")
    unique = run.info["uuid"]
    references = [run.path, run.config_file, run.ckpt / "best_model.pth", run.ckpt, run.id]
    references += ["reid", run.id[:-2], unique, unique[:13], unique.replace("-", "")[:16]]
    for reference in references:
        assert find_run(str(reference), [tmp_path]).path == run.path


def test_a_relative_path_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make(tmp_path)
    monkeypatch.chdir(run.ckpt)
    assert find_run(".", []).path == run.path
    assert find_run("../config.yaml", []).path == run.path


def test_a_path_through_latest_train_leads_to_the_dated_folder(tmp_path: Path) -> None:
    run = make(tmp_path, status="finished")
    publish_latest(run, tmp_path)
    path = tmp_path / "latest-train" / "config.yaml"
    assert find_run(str(path), [tmp_path]).path == run.path


def test_a_whole_id_wins_over_longer_ids_that_begin_with_it(tmp_path: Path) -> None:
    run = make(tmp_path)
    longer = make(tmp_path)
    longer.path.rename(longer.path.with_name(run.id + "0"))
    file = run.path.with_name(run.id + "0") / "run.json"
    file.write_text(json.dumps(longer.info | {"id": run.id + "0"}))
    assert find_run(run.id, [tmp_path]).path == run.path
    with pytest.raises(RunError, match="2 runs"):
        find_run(run.id[:-1], [tmp_path])


def test_a_folder_that_has_the_name_by_chance_does_not_hide_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make(tmp_path / "train")
    (tmp_path / "reid").mkdir()
    monkeypatch.chdir(tmp_path)
    assert find_run("reid", ["train"]).path == run.path


def test_several_folders_are_searched_each_once(tmp_path: Path) -> None:
    run = make(tmp_path / "a", "alpha")
    other = make(tmp_path / "b", "beta")
    folders = [tmp_path / "a", tmp_path / "b", tmp_path / "b" / ".." / "a"]
    assert find_run("alpha", folders).path == run.path
    assert find_run("beta", folders).path == other.path


def test_an_ambiguous_beginning_lists_the_matches(tmp_path: Path) -> None:
    runs = [make(tmp_path, hours=hours) for hours in range(3)]
    with pytest.raises(RunError, match="beginning of 3 runs") as caught:
        find_run("reid", [tmp_path])
    assert all(run.id in str(caught.value) for run in runs)
    assert "type more" in str(caught.value)


def test_a_long_list_of_matches_is_cut(tmp_path: Path) -> None:
    for hours in range(12):
        make(tmp_path, hours=hours)
    with pytest.raises(RunError, match="and 2 more"):
        find_run("reid", [tmp_path])


def test_a_misspelt_id_is_answered_with_the_nearest(tmp_path: Path) -> None:
    run, other = make(tmp_path, "reid-r50"), make(tmp_path, "q")
    with pytest.raises(RunError) as caught:
        find_run(run.id.replace("reid", "ried"), [tmp_path])
    assert f"the nearest are {run.id}" in str(caught.value)
    assert str(tmp_path) in str(caught.value)
    with pytest.raises(RunError, match="the newest are") as caught:
        find_run("nothing-like-it", [tmp_path])
    assert other.id in str(caught.value)


@pytest.mark.parametrize("reference", ["", "latest", "x", "no/such/path", "y" * 5000])
def test_without_runs_the_error_says_where_it_looked(tmp_path: Path, reference: str) -> None:
    with pytest.raises(RunError, match="no runs at all") as caught:
        find_run(reference, [tmp_path])
    assert str(tmp_path) in str(caught.value)


def test_nothing_given_matches_no_run(tmp_path: Path) -> None:
    make(tmp_path)
    with pytest.raises(RunError, match="There is no run ''"):
        find_run("", [tmp_path])


def test_latest_is_the_published_run(tmp_path: Path) -> None:
    first = make(tmp_path, status="finished")
    publish_latest(first, tmp_path)
    make(tmp_path, status="finished")  # ended, and killed before it was published
    assert find_run("latest", [tmp_path]).path == first.path


def test_latest_without_a_link_is_the_finished_run_that_ended_last(tmp_path: Path) -> None:
    long = make(tmp_path, hours=0)
    short = make(tmp_path, hours=2, status="finished")
    make(tmp_path, hours=3, status="failed")
    make(tmp_path, hours=4, status="running")
    assert find_run("latest", [tmp_path]).path == short.path
    long.set_status("finished")
    assert find_run("latest", [tmp_path]).path == long.path


def test_latest_over_a_broken_link_scans(tmp_path: Path) -> None:
    run = make(tmp_path, status="finished")
    (tmp_path / "latest-train").symlink_to("20200101/gone")
    assert find_run("latest", [tmp_path]).path == run.path


def test_latest_without_a_finished_run_says_so(tmp_path: Path) -> None:
    run = make(tmp_path, status="failed")
    with pytest.raises(RunError, match="a finished run") as caught:
        find_run("latest", [tmp_path])
    assert run.id in str(caught.value)


def test_a_damaged_run_that_is_asked_for_is_an_error(tmp_path: Path) -> None:
    run = make(tmp_path)
    (run.path / "run.json").write_text("{")
    with pytest.raises(RunError, match=r"damaged run\.json"):
        find_run(run.id, [tmp_path])
