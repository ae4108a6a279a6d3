"""What the page and the figures of a re-identification run show, from files alone."""

from __future__ import annotations

import csv
import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from reid_report_run import EVIL, Row, judge, make_rows, result_of, write_reid_run
from report_pages import page_of, section_of, text_of, write_json

from sightline.config import load_config
from sightline.data.manifest import Manifest
from sightline.reports.record import read_run_record
from sightline.reports.reid_curves import (
    PAIRS,
    PairDistances,
    read_camera_pairs,
    read_cmc,
    read_pair_distances,
)
from sightline.reports.reid_figures import camera_pairs_figure, cmc_figure, distances_figure
from sightline.reports.reid_pictures import MOST_PIXELS, open_reid_pictures
from sightline.reports.reid_rows import Match, ReidQuery, choose_queries, read_reid_queries
from sightline.reports.reid_sheet import matches_figure
from sightline.reports.reid_words import answering_feature, reid_remarks
from sightline.reports.run_figures import write_run_figures
from sightline.reports.wording import choice_sentence
from sightline.tasks.reid_config import ReidConfig
from sightline.tasks.reid_scoring import reid_result
from sightline.tasks.task import Truth

ESCAPED = "&lt;/script&gt;&lt;b&gt;$x$"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with everything; to be read only."""
    folder = write_reid_run(tmp_path_factory.mktemp("runs") / "run")
    rows = [
        {"event": "epoch", "epoch": epoch, "train_loss": 5 / epoch, "train_id": 4 / epoch,
         "train_triplet": 0.8 / epoch, "train_center": 900 / epoch, "train_accuracy": 0.2 * epoch,
         "valid_loss": 2.0, "map": 0.1 * epoch, "rank_1": 0.2 * epoch, "lr": 1e-3}
        for epoch in (1, 2, 3)
    ]  # fmt: skip
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "metrics.jsonl").write_text(lines, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def page(run: Path) -> str:
    return page_of(run)


def content_of(run: Path) -> dict[str, Any]:
    text = (run / "predictions/test.metrics.json").read_text(encoding="utf-8")
    content: dict[str, Any] = json.loads(text)
    return content


def rows_of(part: str) -> list[str]:
    return part.split('<div class="asked">')[1:]


def query(identifier: str, **more: Any) -> ReidQuery:
    facts = {"id": identifier, "path": "", "identity": "a", "camera": "c1", "first_rank": 1,
             "matches": 2, "average_precision": 0.5, "inverse_penalty": 0.5}  # fmt: skip
    return ReidQuery(**{**facts, **more})


def without_cameras() -> list[Row]:
    rows = make_rows(4, 0, 3)
    assert all(row.camera == "" for row in rows)
    return rows


def test_the_page_has_the_sections_of_reid_and_no_others(page: str) -> None:
    assert re.findall(r'<section id="(\w+)"', page) == [
        "headline", "rankings", "cmc", "matches", "identities", "cameras", "distances", "curves",
        "data", "environment",
    ]  # fmt: skip
    assert "<b>$x$" not in page


def test_the_headline_has_the_protocol_and_counts_identities(run: Path, page: str) -> None:
    text = text_of(section_of(page, "headline"))
    scores = content_of(run)["headline"]

    assert f"mAP {scores['map']['value']:.3f} 95 % interval" in text
    assert "n = 6 identities" in text
    assert "mINP" in text
    assert "Rank-1" in text
    assert "18 pictures of query ask for 36 pictures of gallery, 6 identities; 3 cameras." in text
    assert "The gallery has 6 identities." in text
    assert "one with the best mAP on the validation split" in choice_sentence(read_run_record(run))


def test_the_task_writes_what_these_files_hold(tmp_path: Path) -> None:
    """The format by hand is that of the task, and the page is the same."""
    rows = make_rows(5, 3, 2)
    config = load_config("reid/digits", ["eval.bootstrap=100"], tasks={"reid": ReidConfig})
    assert isinstance(config, ReidConfig)
    samples = Manifest.build(
        Path(),
        id=[row.id for row in rows],
        path=[f"data/{row.id}.png" for row in rows],
        label=[row.identity for row in rows],
        camera=[row.camera for row in rows],
        split=[row.split for row in rows],
    )
    features = np.stack([row.feature for row in rows]).astype(np.float32)
    joined = {"ids": [row.id for row in rows], "after": features, "before": features}
    result = reid_result(joined, Truth(samples, tuple(samples.label.names)), config)
    written = json.loads(json.dumps(result.as_dict()))
    judged = [judge(row, rows) for row in rows if row.split == "query"]
    expected = result_of(judged, rows)

    assert set(written) | {"task", "split", "epoch", "checkpoint"} == set(expected)
    for name, one in written["headline"].items():
        assert one["value"] == pytest.approx(expected["headline"][name]["value"])
        assert set(one) == set(expected["headline"][name])
    assert written["cmc"]["after_plain"] == pytest.approx(expected["cmc"]["after_plain"])
    pairs, given = read_camera_pairs(written), read_camera_pairs(expected)
    assert pairs is not None
    assert given is not None
    order = [pairs.cameras.index(name) for name in given.cameras]
    assert [[pairs.rank_1[a][b] for b in order] for a in order] == given.rank_1
    assert set(written["camera_pairs"]) == set(expected["camera_pairs"])
    assert written["distances"] == {
        "edges": pytest.approx(expected["distances"]["edges"]),
        **{kind: expected["distances"][kind] for kind in PAIRS},
    }
    assert set(written["hardest"][0]) == set(expected["hardest"][0])
    assert set(written["protocol"]) == set(expected["protocol"])
    columns, table = result.rows()
    folder = write_reid_run(tmp_path / "run", rows, **written)
    with (folder / "predictions/test.csv").open(encoding="utf-8", newline="") as lines:
        heads, first = [next(csv.reader(lines)), next(csv.reader(lines))]
    assert [columns[0], "path", *columns[1:]] == heads
    assert [table[0][0], *map(str, table[0][1:5])] == [first[0], *first[2:6]]
    assert [one for one in table[0][7:] if isinstance(one, str)] == [
        one for place, one in enumerate(first[8:]) if place % 5 != 3
    ]
    assert re.findall(r'<section id="(\w+)"', page_of(folder))[:7] == [
        "headline", "rankings", "cmc", "matches", "identities", "cameras", "distances",
    ]  # fmt: skip


def test_queries_and_ranks_without_a_score_are_named() -> None:
    protocol = {"said": "each asks", "queries": 1200, "unmatched": 3, "own_gallery": True,
                "gallery_identities": 1}  # fmt: skip
    why = "rank 10 is more than the 7 gallery pictures"
    result = {"task": "reid", "protocol": protocol, "undefined": {"10": why}}

    assert reid_remarks(result) == [
        "Each asks. They have 1 identity.",
        "3 of 1,200 queries have nothing to find and count in no score.",
        "Rank-10 is not defined: rank 10 is more than the 7 gallery pictures.",
    ]
    one = reid_remarks({"task": "reid", "protocol": {"unmatched": 1, "queries": 9}})
    assert one == ["One of 9 queries has nothing to find and counts in no score."]
    assert reid_remarks({"task": "retrieve", "protocol": protocol}) == []
    assert reid_remarks({"task": "reid"}) == []


def test_every_feature_and_ranking_has_a_row_with_intervals(run: Path, page: str) -> None:
    part = section_of(page, "rankings")
    rows = part.split("<tbody>")[1].split("</tr>")[:-1]
    table = content_of(run)["table"]

    assert [text_of(row)[:26] for row in rows] == [
        "after the neck by distance", "after the neck re-ranked 0", "before the neck by distanc",
    ]  # fmt: skip
    assert ['class="best"' in row for row in rows] == [True, False, False]
    for row, given in zip(rows, table, strict=True):
        low, high = (f"{given['rank_1'][end]:.3f}" for end in ("low", "high"))
        assert f"{given['rank_1']['value']:.3f} {low} to {high}" in text_of(row)
    assert "Zhong et al. 2017" in part
    assert "expanded queries" not in part


def test_the_curves_are_those_of_the_feature_that_answers(run: Path) -> None:
    content = content_of(run) | {"feature": "before"}

    assert answering_feature(content) == "before"
    assert list(read_cmc(content)) == ["by distance"]
    assert read_cmc(content)["by distance"] == content["cmc"]["before_plain"]
    assert answering_feature({}) == "after"


def test_without_reranking_or_a_neck_there_is_no_table_of_rankings(tmp_path: Path) -> None:
    rows = make_rows(4)
    judged = [judge(row, rows) for row in rows if row.split == "query"]
    whole = result_of(judged, rows)
    less = {"table": whole["table"][:1], "cmc": {"after_plain": whole["cmc"]["after_plain"]}}
    page = page_of(write_reid_run(tmp_path / "run", rows, **less, more={}))

    assert 'id="rankings"' not in page
    alt = re.findall('alt="(CMC.*?)"', section_of(page, "cmc"))[0]
    assert "by distance: rank-1" in alt
    assert "re-ranked" not in alt


def test_a_score_that_a_row_lacks_is_a_dash(run: Path, tmp_path: Path) -> None:
    content = content_of(run)
    del content["headline"]["rank_10"]
    for row in content["table"][1:]:
        del row["rank_10"]
    folder = write_reid_run(tmp_path / "run", table=content["table"], headline=content["headline"])
    part = section_of(page_of(folder), "rankings")

    assert text_of(part.split("</thead>")[0]).endswith("Rank-1 Rank-5 Rank-10")
    assert [text_of(row)[-1] for row in part.split("</tr>")[2:4]] == ["–", "–"]


def test_cmc_curves_are_drawn_as_far_as_they_are_defined() -> None:
    curves = {"by distance": [0.55, 0.7, None], "re-ranked": [0.6, 0.8, 0.9]}
    axes = cmc_figure(curves).axes[0]
    drawn = {line.get_label(): line.get_ydata() for line in axes.lines}

    assert {name: list(values) for name, values in drawn.items()} == {
        "by distance, rank-1 0.550": [0.55, 0.7],
        "re-ranked, rank-1 0.600": [0.6, 0.8, 0.9],
    }
    assert [line.get_linestyle() for line in axes.lines] == ["-", "--"]
    assert axes.get_ylim() == (0.5, 1.01)
    assert cmc_figure({}).texts[0].get_text() == "There is no CMC curve."


def test_undefined_ranks_cut_the_curve_and_the_page_says_so(tmp_path: Path) -> None:
    curve = [0.5, 0.75, *[None] * 48]
    page = page_of(write_reid_run(tmp_path / "run", cmc={"after_plain": curve}))

    assert "ends where fewer pictures are ranked" in text_of(section_of(page, "cmc"))
    nothing = page_of(write_reid_run(tmp_path / "other", cmc={"after_plain": [None] * 50}))
    assert 'id="cmc"' not in nothing


def test_matches_are_marked_with_more_than_colour(run: Path, page: str) -> None:
    part = section_of(page, "matches")
    record = read_run_record(run)
    shown = choose_queries(read_reid_queries(record.predictions("test"))).all()
    expected = {"right": "✓", "wrong": "✗", "junk": "○"}

    assert len(rows_of(part)) == len(shown)
    for html, one in zip(rows_of(part), shown, strict=True):
        found = re.findall(r'<div class="frame (?:gone )?(right|wrong|junk)"', html)
        assert found == [near.mark for near in one.nearest]
        signs = re.findall(r'<p class="near (\w+)" title="[^"]*">(.) ', html)
        assert signs == [(near.mark, expected[near.mark]) for near in one.nearest]
        assert f"first match at rank {one.first_rank}" in text_of(html)
        assert f"cam {one.nearest[0].camera} , {one.nearest[0].distance:.3f}" in text_of(html)
    assert {near.mark for one in shown for near in one.nearest} == set(expected)
    for said in ("unbroken frame", "dashed frame", "dotted frame", "left out of the ranking"):
        assert said in text_of(part)
    assert f"Query: {ESCAPED}" in part


def test_junk_has_no_rank_and_the_others_count_on() -> None:
    cells = {"id": "q", "identity": "7", "first_rank": "2", "average_precision": "0.5"}
    for place, (name, mark) in enumerate((("8", "wrong"), ("7", "junk"), ("7", "right")), start=1):
        cells |= {f"nearest_{place}": f"g{place}", f"nearest_{place}_label": name}
        cells |= {f"nearest_{place}_mark": mark, f"nearest_{place}_distance": "x"}
    (found,) = read_reid_queries([cells])

    assert [(one.mark, one.rank) for one in found.nearest] == [
        ("wrong", 1), ("junk", 0), ("right", 2),
    ]  # fmt: skip
    assert math.isnan(found.nearest[0].distance)
    old = {key: value for key, value in cells.items() if not key.endswith("_mark")}
    assert [one.mark for one in read_reid_queries([old])[0].nearest] == ["wrong", "right", "right"]
    assert read_reid_queries([{"id": "a", "target": "b"}]) == []


def test_rows_are_read_as_they_were_written(run: Path) -> None:
    rows = make_rows()
    found = read_reid_queries(read_run_record(run).predictions("test"))
    judged = [judge(row, rows) for row in rows if row.split == "query"]

    assert [one.id for one in found] == [one.row.id for one in judged]
    for read, one in zip(found, judged, strict=True):
        assert (read.first_rank, read.matches) == (one.first, sum(one.hits))
        assert read.average_precision == pytest.approx(one.precision, abs=1e-6)
        assert [near.id for near in read.nearest] == [near.id for near, *_ in one.nearest[:10]]


def test_worst_typical_and_best_are_chosen_by_rank_and_precision() -> None:
    queries = [query(f"q{n:02}", average_precision=n / 40, first_rank=1) for n in range(1, 41)]
    late = [query("late", first_rank=9, average_precision=0.3), query("later", first_rank=30)]
    none = query("none", first_rank=0, average_precision=math.nan)
    found = choose_queries([*queries, *late, none])

    assert [one.id for one in found.worst[:4]] == ["later", "late", "q01", "q02"]
    assert len(found.worst) == 12
    assert {one.id for one in found.typical} <= {f"q{n}" for n in range(18, 24)}
    assert [one.id for one in found.best] == ["q40", "q39", "q38", "q37"]
    assert len({one.id for one in found.all()}) == 20
    perfect = choose_queries([query("a", average_precision=1.0), none])
    assert (perfect.worst, [one.id for one in perfect.all()]) == ([], ["a"])
    assert choose_queries([]).all() == []


def test_equal_precision_goes_to_the_query_with_most_to_find() -> None:
    queries = [query(f"q{n}", average_precision=1.0, matches=n) for n in range(9)]
    chosen = choose_queries(queries, typical=0)

    assert [one.id for one in chosen.best] == ["q8", "q7", "q6", "q5"]


def test_a_picture_lies_in_the_page_once_and_is_small(run: Path, page: str) -> None:
    part = section_of(page, "matches")
    keys = re.findall(r'<image id="(match-\d+)"', part)
    used = re.findall(r'<use href="#(match-\d+)"/>', part)

    assert sorted(keys) == sorted(set(used))
    assert len(used) > len(keys) == part.count("data:image/jpeg")
    assert part.count("not found") == 0
    assert "--aspect:0.5" in part
    named = re.findall(r' id="([^"]+)"', page)
    assert len(named) == len(set(named))


def test_large_pictures_are_made_small_by_their_area(tmp_path: Path) -> None:
    rows = make_rows(2, 2)
    record = read_run_record(write_reid_run(tmp_path / "run", rows, size=(300, 240)))
    shown = read_reid_queries(record.predictions("test"))
    pictures = open_reid_pictures(record, shown).pictures.values()

    assert all(one is not None for one in pictures)
    assert all(0.9 < one.width * one.height / MOST_PIXELS <= 1 for one in pictures if one)


def test_missing_and_torn_pictures_are_said_to_be(tmp_path: Path) -> None:
    folder = write_reid_run(tmp_path / "run", make_rows(2, 2, 1))
    before = section_of(page_of(folder), "matches")
    files = sorted((folder / "data").iterdir())
    files[0].unlink()
    files[1].write_bytes(b"no picture")
    part = section_of(page_of(folder), "matches")

    assert "not found" not in before
    assert part.count("picture not found or not readable") > 1
    (folder / "splits.csv").unlink()
    for row in rows_of(section_of(page_of(folder), "matches")):
        assert row.count("<use ") <= 1  # only the query's own row says where it lies
        assert row.count("not readable") >= 2


def test_pictures_are_found_after_run_and_data_moved_together(tmp_path: Path) -> None:
    folder = write_reid_run(tmp_path / "run", make_rows(2, 2, 1))
    moved = folder.rename(tmp_path / "moved")

    assert "not found" not in section_of(page_of(moved), "matches")


def test_pictures_are_found_under_another_root(tmp_path: Path) -> None:
    from sightline.reports.run_page import render_run_report

    folder = write_reid_run(tmp_path / "run", make_rows(2, 2, 1))
    (folder / "data").rename(tmp_path / "elsewhere")
    page = render_run_report(read_run_record(folder), image_root=tmp_path / "elsewhere")

    assert "not found" in section_of(page_of(folder), "matches")
    assert "not found" not in section_of(page, "matches")


def test_hardest_identities_come_worst_first_with_a_picture(tmp_path: Path, run: Path) -> None:
    part = section_of(page_of(run), "identities")
    names = re.findall(r'<th scope="row" class="text">(.*?)</th>', part)
    hardest = content_of(run)["hardest"]

    assert names == [row["identity"].replace(EVIL, ESCAPED) for row in hardest]
    assert part.count("<use ") == len(names) == 6
    many = [
        {"identity": f"i{n}", "queries": 3, "map": n / 30, "rank_1": None if n else 0.5}
        for n in range(31)
    ]
    part = section_of(page_of(write_reid_run(tmp_path / "run", hardest=many)), "identities")
    assert part.count('<th scope="row"') == 20
    assert "These are 20 of 31 identities. 1 has a mAP of 1." in text_of(part)
    assert "<use " not in part
    assert text_of(part).count("–") == 19


def test_pairs_of_cameras_are_a_heat_map_with_counts(run: Path, page: str) -> None:
    part = section_of(page, "cameras")
    content = content_of(run)["camera_pairs"]
    cells = part.split("<tbody>")[1].split("<td ")[1:]

    assert len(cells) == 9
    for place, cell in enumerate(cells):
        a, b = divmod(place, 3)
        if a == b:  # nothing is left of the own camera
            assert "–" in cell
            assert f"c{a + 1} asks, c{b + 1} answers: no query has a match" in cell
        else:
            assert f"--s:{round(content['rank_1'][a][b], 3)}" in cell
            said = f"mAP {content['map'][a][b]:.3f}, n = {content['queries'][a][b]} queries"
            assert said in cell
    assert "with the most pictures" not in part


def test_a_table_of_some_cameras_says_of_how_many(run: Path, tmp_path: Path) -> None:
    pairs = {**content_of(run)["camera_pairs"], "of": 1234}
    page = page_of(write_reid_run(tmp_path / "run", camera_pairs=pairs))

    assert "the 3 of 1,234 cameras with the most pictures" in text_of(section_of(page, "cameras"))


def test_without_cameras_nothing_speaks_of_them(tmp_path: Path) -> None:
    folder = write_reid_run(tmp_path / "run", without_cameras())
    page = page_of(folder)
    part = section_of(page, "matches")

    assert 'id="cameras"' not in page
    assert "by camera" not in part
    assert "<span>camera</span>" not in part
    assert "dotted frame" not in part
    assert "by two cameras" not in text_of(section_of(page, "distances"))
    assert read_camera_pairs(content_of(folder)) is None
    assert content_of(folder)["distances"]["other_camera"]


def test_distances_are_told_in_numbers_too(tmp_path: Path) -> None:
    edges = [0.0, 0.5, 1.0, 1.5, 2.0]
    counts = {"other_camera": [4, 4, 0, 0], "same_camera": [1, 0, 0, 0]}
    found = {"edges": edges, **counts, "other_identity": [0, 20, 60, 20]}
    folder = write_reid_run(tmp_path / "run", distances=found)
    text = text_of(section_of(page_of(folder), "distances"))

    assert "Half of the pairs of one identity by two cameras are nearer than about 0.50" in text
    assert "0 % of the pairs of different identities are that near." in text


def test_medians_and_shares_are_those_of_the_pairs_themselves() -> None:
    draw = np.random.default_rng(0)
    own, other = draw.uniform(0.2, 1.1, 4000), draw.uniform(0.6, 1.9, 4000)
    edges = np.linspace(0, 2, 101)
    counts = {
        "other_camera": np.histogram(own, edges)[0].tolist(),
        "other_identity": np.histogram(other, edges)[0].tolist(),
    }
    found = PairDistances(edges.tolist(), counts)
    middle = found.median("other_camera")

    assert middle == pytest.approx(np.median(own), abs=0.01)
    assert middle is not None
    assert found.share_below("other_identity", 1.0) == pytest.approx((other < 1).mean(), abs=0.005)
    assert found.share_below("other_identity", 2.0) == 1
    assert found.median("same_camera") is None
    assert found.share_below("same_camera", 1.0) is None


def test_histograms_of_another_form_are_left_out() -> None:
    assert read_pair_distances({}) is None
    assert read_pair_distances({"distances": {"edges": [0, 1], "other_camera": [1, 2]}}) is None
    assert read_pair_distances({"distances": {"edges": [0, 1], "other_camera": [0]}}) is None
    one = read_pair_distances({"distances": {"edges": [0, 1], "other_identity": [3]}})
    assert one is not None
    assert list(one.counts) == ["other_identity"]
    assert distances_figure(one).axes[0].get_legend() is not None


def test_camera_tables_of_another_form_are_left_out() -> None:
    whole = {"cameras": ["a"], "rank_1": [[0.5]], "map": [[None]], "queries": [[2]]}
    found = read_camera_pairs({"camera_pairs": whole})

    assert found is not None
    assert found.columns() == {
        "query_camera": ["a"], "gallery_camera": ["a"], "queries": [2], "rank_1": [0.5],
        "map": [None],
    }  # fmt: skip
    for broken in ({}, {**whole, "map": [[1], [2]]}, {**whole, "queries": None}, {"cameras": []}):
        assert read_camera_pairs({"camera_pairs": broken}) is None
    assert camera_pairs_figure(found).axes[0].texts[0].get_text() == "0.50\n2"


def test_parts_of_the_loss_share_a_chart_and_scores_another(page: str) -> None:
    charts = json.loads(page.split('id="chart-data">')[1].split("</script>")[0])["charts"]

    assert {one["title"]: one["names"] for one in charts} == {
        "Loss": ["Training loss", "Validation loss"],
        "Parts of the loss": ["Train triplet", "Train id"],
        "Parts of the loss, larger": ["Train center"],
        "Metric": ["Train accuracy", "mAP", "Rank-1"],
        "Learning rate": ["Learning rate"],
    }


def test_an_old_run_with_few_keys_still_has_a_page(tmp_path: Path) -> None:
    headline = {"map": {"value": 0.5}}
    content = {"task": "reid", "split": "val", "headline": headline, "table": None, "cmc": None,
               "hardest": None, "camera_pairs": None, "distances": None}  # fmt: skip
    write_json(tmp_path / "run/predictions/val.metrics.json", content)
    write_json(tmp_path / "run/run.json", {"id": "r", "status": "finished"})
    page = page_of(tmp_path / "run")

    assert re.findall(r'<section id="(\w+)"', page) == ["headline", "data", "environment"]
    assert "mAP 0.500" in text_of(page)


def test_every_figure_has_its_numbers_beside_it(tmp_path: Path) -> None:
    run = write_reid_run(tmp_path / "run", make_rows(2, 3, 1))
    files = write_run_figures(run)
    tables = {}
    for file in files:
        if file.suffix == ".csv":
            with file.open(encoding="utf-8", newline="") as lines:
                tables[file.stem] = list(csv.DictReader(lines))

    names = {"cmc_test", "distances_test", "camera_pairs_test", "matches_test"}
    assert set(tables) == {file.stem for file in files if file.suffix == ".png"} == names
    cmc = tables["cmc_test"]
    curves = content_of(run)["cmc"]
    assert [row["rank"] for row in cmc] == [str(rank) for rank in range(1, 51)]
    told = [float(row["by distance"]) if row["by distance"] else None for row in cmc]
    assert told == curves["after_plain"]
    assert cmc[-1]["re-ranked"] == ""
    total = sum(int(row["other_identity"]) for row in tables["distances_test"])
    assert total == sum(content_of(run)["distances"]["other_identity"])
    assert len(tables["camera_pairs_test"]) == 9
    first = tables["matches_test"][0]
    assert (first["group"], first["place"]) == ("worst", "1")
    assert first["path"].endswith(".png")
    assert {row["mark"] for row in tables["matches_test"]} <= {"right", "wrong", "junk"}


def test_a_row_of_the_sheet_marks_right_wrong_and_junk_by_line_and_word(run: Path) -> None:
    near = (
        Match("g1", "b", "c2", 0.25, "wrong", 1),
        Match("g2", "a", "c1", 0.5, "junk", 0),
        Match("g3", "a", "", math.nan, "right", 2),
    )
    one = query("q1", first_rank=2, nearest=near)
    pictures = open_reid_pictures(read_run_record(run), [one])
    axes = matches_figure([one], pictures).axes

    assert [ax.get_title() for ax in axes] == [
        "a, c1\nfirst at 2, AP 0.500", "b, c2\nother, 0.250", "a, c1\nleft out, 0.500",
        "a\nown, –",
    ]  # fmt: skip
    assert len({str(ax.patches[0].get_linestyle()) for ax in axes[1:]}) == 3
    assert matches_figure([], pictures).texts[0].get_text() == "There are no queries."


def test_tiny_pictures_are_shown_as_they_are(tmp_path: Path) -> None:
    folder = write_reid_run(tmp_path / "run", make_rows(2, 2, 1), size=(16, 16))
    part = section_of(page_of(folder), "matches")

    assert "image-rendering:pixelated" in part
    assert "--aspect:1.0" in part
    with Image.open(next((folder / "data").iterdir())) as picture:
        assert f'viewBox="0 0 {picture.width} {picture.height}"' in part
