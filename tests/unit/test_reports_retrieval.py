"""What the page and the figures of a retrieval run show, from files alone."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from report_pages import page_of, section_of, text_of, write_json

from sightline.reports.record import read_run_record
from sightline.reports.retrieval_figures import class_search_figure, write_retrieval_figures
from sightline.reports.retrieval_map import COLOURS as MAP_COLOURS
from sightline.reports.retrieval_map import MARKS, mark_of, read_embedding_map
from sightline.reports.retrieval_pictures import Thumbnails
from sightline.reports.retrieval_rows import (
    Neighbour,
    Query,
    accepted_although_wrong,
    asked_although_right,
    read_queries,
    spread_sample,
    worst_queries,
)
from sightline.reports.retrieval_sections import CLASSES_SHOWN, sorted_classes
from sightline.reports.retrieval_sheet import choose_rows, neighbours_figure
from sightline.reports.retrieval_words import (
    gallery_sentence,
    no_thresholds_sentence,
    realised_errors,
    retrieval_remarks,
    thresholds_sentence,
)
from sightline.reports.run_figures import write_run_figures
from sightline.reports.wording import choice_sentence, metric_title

EVIL = "</script><b>$x$"
COLOURS = {
    "rose": (200, 30, 60),
    "lily": (240, 240, 200),
    EVIL: (20, 90, 160),
    "fern": (20, 120, 30),
}
GALLERY = [
    ("g1", "rose"),
    ("g2", "rose"),
    ("g3", "lily"),
    ("g4", EVIL),
    ("g5", EVIL),
    ("g6", "lily"),
]
THRESHOLDS = {
    "max_distance": 0.31, "min_margin": 0.2, "min_concentration": 0.6, "error_rate": 0.05,
    "delta": 0.05, "n": 180, "accepted": 160, "coverage": 0.889, "accuracy": 0.9875,
    "lower_bound": 0.9512, "false_accept_rate": None, "unknown": 170, "unknown_accepted": 11,
    "reason": None,
}  # fmt: skip


def query(identity: str, target: str, **more: Any) -> Query:
    """A query whose nearest neighbours are of the labels in ``near``, 0.1 apart."""
    near: Sequence[str] = more.pop("near", ("rose", "lily"))
    start = more.pop("start", 0.1)
    hits = [rank for rank, label in enumerate(near, start=1) if label == target]
    found = tuple(
        Neighbour(next(g for g, name in GALLERY if name == label), label, start + 0.1 * rank)
        for rank, label in enumerate(near)
    )
    facts = {
        "id": identity, "path": f"pictures/{identity}.png", "target": target,
        "prediction": near[0] if near else "", "confidence": 0.5, "verdict": "",
        "first_rank": hits[0] if hits else 7, "relevant": 2, "ap_at_r": 0.5, "neighbours": found,
    }  # fmt: skip
    return Query(**{**facts, **more})


QUERIES = [
    query("q1", "rose", near=("rose", "rose"), ap_at_r=1.0, verdict="accept", confidence=0.9),
    query("q2", "lily", near=("rose", "lily"), ap_at_r=0.25, verdict="accept", start=0.05),
    query("q3", EVIL, near=("rose", "lily"), ap_at_r=0.0, verdict="ask again", start=0.02),
    query("q4", EVIL, near=(EVIL, "rose"), ap_at_r=0.5, verdict="ask again", confidence=0.4),
    query("q5", "fern", near=("lily",), first_rank=0, relevant=0, ap_at_r=math.nan,
          verdict="accept", confidence=0.7),
]  # fmt: skip


def estimate(value: float, n: int = 4) -> dict[str, Any]:
    ends = {"low": max(0.0, value - 0.1), "high": min(1.0, value + 0.1)}
    return {"value": value, **ends, "n": n, "unit": "object", "confidence": 0.95}


def result(**more: Any) -> dict[str, Any]:
    scores = {"recall_at_1": 0.5, "recall_at_5": 0.75, "map_at_r": 0.4375, "knn_accuracy": 0.5}
    names = sorted({"rose", "lily", EVIL, "fern"})
    return {
        "task": "retrieve",
        "split": "test",
        "n": 5,
        "epoch": 4,
        "checkpoint": "best_model.pth",
        "headline": {name: estimate(value) for name, value in scores.items()},
        "more": {"macro_recall_at_1": estimate(0.512), "mrr": estimate(0.613)},
        "undefined": {"recall_at_10": "q1 sees 6 pictures, fewer than 10"},
        "unmatched": 1,
        "gallery": {"kind": "train", "said": "the pictures of train", "pictures": 6, "classes": 3},
        "answers": {
            "error_rate": 0.05,
            "coverage": estimate(0.5),
            "accepted_accuracy": estimate(0.5, n=2),
            "false_accepts": estimate(0.25),
            "unknown_accepts": estimate(1.0, n=1),
        },
        "thresholds": THRESHOLDS,
        "retrieval_per_class": [
            {
                "name": "rose",
                "queries": 1,
                "recall_at_1": 1.0,
                "map_at_r": 1.0,
                "knn_accuracy": 1.0,
            },
            {"name": EVIL, "queries": 2, "recall_at_1": 0.5, "map_at_r": 0.25, "knn_accuracy": 0.5},
            {"name": "lily", "queries": 1, "recall_at_1": 0.0, "map_at_r": 0.25, "knn_accuracy": 0},
        ],
        "per_class": [
            {"name": name, "precision": 0.5, "recall": 0.5, "f1": 0.5, "support": 1}
            for name in names
        ],
        "confusion": np.eye(4, dtype=int).tolist(),
        "class_names": names,
        **more,
    }


def make_run(
    folder: Path,
    queries: Sequence[Query] = tuple(QUERIES),
    *,
    content: dict[str, Any] | None = None,
    pictures: bool = True,
    maps: bool = True,
) -> Path:
    """A run with pictures of one colour for each class, a gallery in its index, and a map."""
    (folder / "predictions").mkdir(parents=True)
    (folder / "pictures").mkdir()
    (folder / "index").mkdir()
    for name, label in [*GALLERY, *((one.id, one.target) for one in queries)]:
        if pictures:
            colour = COLOURS.get(label, (90, 90, 90))
            Image.new("RGB", (80, 60), colour).save(folder / f"pictures/{name}.png")
    with (folder / "index/rows.csv").open("w", encoding="utf-8", newline="") as lines:
        writer = csv.writer(lines, quoting=csv.QUOTE_ALL)
        writer.writerow(["id", "label", "group", "split", "path"])
        writer.writerows([g, label, "", "fit", f"pictures/{g}.png"] for g, label in GALLERY)
    write_queries(folder / "predictions/test.csv", queries)
    if maps:
        places = np.array([(row, row % 2) for row in range(len(queries))], np.float32)
        ids = np.array([one.id for one in queries])
        np.savez(folder / "predictions/test.maps.npz", map=places, map_ids=ids)
    write_json(folder / "predictions/test.metrics.json", result() if content is None else content)
    info = {"id": "r-1", "name": "flowers", "task": "retrieve", "status": "finished"}
    write_json(folder / "run.json", info)
    return folder


def write_queries(file: Path, queries: Sequence[Query]) -> None:
    """The predictions file in the form that the task writes."""
    most = max((len(one.neighbours) for one in queries), default=0)
    heads = ["id", "path", "target", "object", "prediction", "confidence", "verdict", "distance"]
    heads += ["margin", "first_rank", "relevant", "ap_at_r"]
    for rank in range(1, most + 1):
        heads += [f"nearest_{rank}", f"nearest_{rank}_label", f"nearest_{rank}_distance"]
    with file.open("w", encoding="utf-8", newline="") as lines:
        writer = csv.writer(lines)
        writer.writerow(heads)
        for one in queries:
            matched = one.first_rank > 0
            row: list[Any] = [one.id, one.path, one.target, "", one.prediction, one.confidence]
            row += [one.verdict, one.nearest, 0.5, one.first_rank if matched else "", one.relevant]
            row.append(one.ap_at_r if matched else "")
            for near in one.neighbours:
                row += [near.id, near.label, near.distance]
            writer.writerow(row + [""] * (len(heads) - len(row)))


def rows_of(part: str) -> list[str]:
    return part.split('<div class="asked">')[1:]


def ids(queries: Sequence[Query]) -> list[str]:
    return [one.id for one in queries]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of a run with everything."""
    return page_of(make_run(tmp_path_factory.mktemp("runs") / "run"))


def test_the_page_has_the_sections_of_retrieval_and_no_worst_mistakes(page: str) -> None:
    assert re.findall(r'<section id="(\w+)"', page) == [
        "headline", "answers", "neighbours", "map", "class_search", "classes", "data",
        "environment",
    ]  # fmt: skip
    assert "<b>$x$" not in page


def test_the_scores_have_the_names_of_the_literature(page: str) -> None:
    text = text_of(page)

    for said in ("Recall@1 0.500 95 % interval 0.400 to 0.600 n = 4 objects", "mAP@R 0.438"):
        assert said in text
    assert "Macro Recall@1 0.512 95 % interval" in text
    assert "each class counts alike" in text
    assert [metric_title(name) for name in ("r_precision", "mrr", "object_recall_at_1")] == [
        "R-precision", "MRR", "Recall@1 by object",
    ]  # fmt: skip
    assert metric_title("recall_at_10 (fold 1)") == "Recall@10 (fold 1)"
    assert metric_title("macro_recall") == "Macro recall"


def test_the_chosen_epoch_keeps_the_name_of_its_metric(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    best = {"metric": "val/recall_at_1", "value": 0.9, "epoch": 3}
    write_json(folder / "run.json", {"id": "r", "status": "finished", "best": best})

    assert "Recall@1 on the validation split" in choice_sentence(read_run_record(folder))


def test_what_the_queries_were_compared_with_is_said(page: str) -> None:
    text = text_of(page)

    assert "compared with a gallery of 6 pictures of 3 classes: the pictures of train." in text
    assert "One of 5 queries has no picture of its class in the gallery" in text
    assert "Recall@10 is not defined: q1 sees 6 pictures, fewer than 10." in text
    own = {"kind": "own", "said": "the other queries, without itself", "pictures": 1, "classes": 1}
    assert "the other queries, without itself: 1 picture of 1 class." in gallery_sentence(own)
    assert retrieval_remarks({"task": "classify", "unmatched": 3}) == []
    assert retrieval_remarks({"task": "retrieve", "unmatched": 3, "n": 1200})[0].startswith(
        "3 of 1,200 queries have no picture"
    )


def test_answers_are_told_with_what_was_promised(page: str) -> None:
    text = text_of(section_of(page, "answers"))

    assert "Accepted 50 % of the answers 95 % interval 40 % to 60 % n = 4 objects" in text
    assert "Unknown accepted 100 %" in text
    assert "at most 0.310 away, the margin is at least 0.200 and the concentration at least" in text
    assert "180 validation pictures, one of each object, so that at most 5 % of the" in text
    assert "160 were accepted, of which 98.8 % were right" in text
    assert "at least 95.1 % of the accepted answers are right, with confidence 95 %" in text
    assert "The thresholds promise nothing about them." in text
    assert 'class="notice"' in section_of(page, "answers")


@pytest.mark.parametrize(
    ("value", "high", "said", "fine"),
    [
        (0.97, 0.99, "within the 5 %", True),
        (0.95, 0.99, "within the 5 %", True),
        (0.93, 0.96, "by no more than chance", True),
        (0.80, 0.90, "more than chance explains", False),
    ],
)
def test_errors_are_held_against_the_rate_that_was_allowed(
    value: float, high: float, said: str, fine: bool
) -> None:
    right = {"value": value, "low": value - 0.05, "high": high, "n": 40, "unit": "image"}
    sentence, verdict = realised_errors({"accepted_accuracy": right, "error_rate": 0.05})

    assert said in sentence
    assert "(n = 40 images)" in sentence
    assert verdict is fine


def test_with_no_accepted_answer_there_is_no_error() -> None:
    none = {"value": None, "low": None, "high": None, "n": 0}
    assert realised_errors({"accepted_accuracy": none, "error_rate": 0.05}) == (
        "No answer was accepted, so there is none to be wrong.", True,
    )  # fmt: skip
    assert thresholds_sentence({**THRESHOLDS, "max_distance": None}) == ""


def test_why_no_answer_is_held_back_has_four_reasons(tmp_path: Path) -> None:
    known = {"thresholds": THRESHOLDS, "own_gallery": False}
    new = {"thresholds": THRESHOLDS, "own_gallery": True}
    train, own = {"gallery": {"kind": "train"}}, {"gallery": {"kind": "own"}}
    reason = {"answers": {"reason": "12 answers are\ntoo few"}}

    assert no_thresholds_sentence(reason, known).endswith("no thresholds: 12 answers are too few.")
    assert "no thresholds were fitted" in no_thresholds_sentence(train, None)
    assert "Evaluate it again." in no_thresholds_sentence(train, known)
    assert "Evaluate it again." in no_thresholds_sentence(own, new)
    assert "set on classes that training never saw" in no_thresholds_sentence(train, new)
    assert "set on classes that the run's gallery has" in no_thresholds_sentence(own, known)

    folder = make_run(tmp_path / "run", content=result(answers={}, thresholds=None))
    write_json(folder / "reliability.json", new)
    assert "set on classes that training never saw" in text_of(page_of(folder))


def test_a_limit_on_false_accepts_is_named(tmp_path: Path) -> None:
    thresholds = {**THRESHOLDS, "false_accept_rate": 0.1}
    page = page_of(make_run(tmp_path / "run", content=result(thresholds=thresholds)))

    assert "at most 10 % of 170 such queries of validation are accepted; there 11 were." in (
        text_of(page)
    )


def test_rows_are_read_as_the_task_writes_them(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    record = read_run_record(folder)
    found = read_queries(record.predictions("test"))

    assert str(found) == str(QUERIES)  # a NaN is not equal to itself
    assert not found[4].is_matched
    assert read_queries([{"id": "a", "target": "", "first_rank": "1"}, {"id": "b"}]) == []
    odd = read_queries([{"target": "a", "first_rank": "x", "ap_at_r": "?", "nearest_1": "g"}])[0]
    assert (odd.first_rank, odd.nearest) == (0, math.inf)


def test_the_surest_mistakes_come_first_and_perfect_queries_are_never_worst() -> None:
    assert ids(worst_queries(QUERIES)) == ["q3", "q2", "q4"]
    assert ids(worst_queries(QUERIES, 1)) == ["q3"]
    right = [query(f"r{n}", "rose", ap_at_r=ap) for n, ap in enumerate((0.9, 0.3, 0.3, 1.0))]
    assert ids(worst_queries(right)) == ["r1", "r2", "r0"]


def test_wrong_verdicts_are_found_and_the_most_confident_come_first() -> None:
    assert ids(accepted_although_wrong(QUERIES)) == ["q5", "q2"]
    assert ids(asked_although_right(QUERIES)) == ["q4"]
    silent = [query("a", "rose"), query("b", "lily")]
    assert accepted_although_wrong(silent) == asked_although_right(silent) == []


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 100, 1003])
def test_a_sample_is_spread_over_the_whole_order(count: int) -> None:
    shuffled = np.random.default_rng(count).permutation(count)
    queries = [query(f"{row:04}", "rose", ap_at_r=row / 1003) for row in shuffled]
    rows = [int(one.id) for one in spread_sample(queries)]

    assert rows == sorted(set(rows))
    assert len(rows) == min(8, count)
    if count > 8:
        # Each equal part of the order has one, so no stretch longer than two parts has none.
        gaps = np.diff([-1, *rows, count])
        assert max(gaps) <= 2 * count / 8 + 1
        assert abs(np.mean(rows) - (count - 1) / 2) <= 1


def test_queries_stand_beside_their_neighbours_with_more_than_colour(page: str) -> None:
    part = section_of(page, "neighbours")
    titles = re.findall(r"<h3>(.*?)</h3>", part)
    first = rows_of(part)[0]

    assert titles == [
        "Worst queries", "Accepted although wrong", "Asked again although right", "A sample",
    ]  # fmt: skip
    assert 'aria-label="Query: &lt;/script&gt;&lt;b&gt;$x$"' in first
    assert "✗ answer rose" in first
    assert "asks again" in first
    assert 'aria-label="Neighbour 1: rose, another class"' in first
    assert first.count("frame wrong") == 2
    assert "0.020" in text_of(first)
    right = rows_of(part.split("Asked again although right")[1])[0]
    assert 'frame right"' in right
    assert f"✓ {'&lt;/script&gt;&lt;b&gt;$x$'}" in right
    text = text_of(part)
    assert "2 of 4 queries are nearest to a picture of another class." in text
    assert "2 of 3 accepted answers are wrong." in text
    assert "1 of 2 right answers is held back." in text
    assert "the gallery has no picture of its class" in text


def test_a_picture_that_is_shown_often_is_in_the_page_once(page: str) -> None:
    part = section_of(page, "neighbours")
    keys = re.findall(r'<image id="(picture-\d+)"', part)
    used = re.findall(r'<use href="#(picture-\d+)"/>', part)

    assert sorted(keys) == sorted(set(used))
    assert len(used) > len(keys) == part.count("data:image/jpeg")
    # Gallery: g1, g3 and g4 are somebody's neighbour, and every query is shown.
    assert len(keys) == 3 + len(QUERIES)


def test_missing_pictures_are_said_to_be(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    (folder / "pictures/q3.png").unlink()
    (folder / "pictures/g3.png").write_bytes(b"no picture")
    part = rows_of(section_of(page_of(folder), "neighbours"))[0]

    assert part.count("picture not found or not readable") == 2
    (folder / "index/rows.csv").unlink()
    part = rows_of(section_of(page_of(folder), "neighbours"))[1]
    assert part.count("picture not found or not readable") == 2
    assert part.count("<use ") == 1


def test_an_own_gallery_shows_the_other_queries(tmp_path: Path) -> None:
    near = Neighbour("q1", "rose", 0.125)
    queries = [QUERIES[0], query("q9", "lily", near=(), neighbours=(near,))]
    gallery = {"kind": "own", "said": "the other queries", "pictures": 2, "classes": 2}
    folder = make_run(tmp_path / "run", queries, content=result(gallery=gallery))
    (folder / "index/rows.csv").unlink()
    part = section_of(page_of(folder), "neighbours")
    shown = part.split('<ol class="queries">')[1]

    assert "Neighbour 1: rose, another class" in shown
    assert shown.count("<use ") == 2


def test_pictures_are_found_under_the_root_of_the_data(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    (folder / "pictures").rename(tmp_path / "elsewhere")
    (tmp_path / "data").mkdir()
    (tmp_path / "elsewhere").rename(tmp_path / "data/pictures")

    assert "<use " not in section_of(page_of(folder), "neighbours")
    info = {"id": "r", "status": "finished", "data": {"root": str(tmp_path / "data")}}
    write_json(folder / "run.json", info)
    assert "not found" not in section_of(page_of(folder), "neighbours")


def test_perfect_answers_have_no_worst_query(tmp_path: Path) -> None:
    queries = [query(f"q{n}", "rose", near=("rose", "rose"), ap_at_r=1.0) for n in range(3)]
    part = section_of(page_of(make_run(tmp_path / "run", queries)), "neighbours")

    assert re.findall(r"<h3>(.*?)</h3>", part) == ["A sample"]
    assert len(rows_of(part)) == 3


def test_the_map_has_a_point_for_each_query_and_rings_wrong_answers(page: str) -> None:
    part = section_of(page, "map")
    drawing = part.split('<svg class="embedding-map"')[1]

    assert len(re.findall("<title>", drawing)) == len(QUERIES)
    assert "<title>q2: lily, answer rose (wrong)</title>" in drawing
    assert "<title>q1: rose, answer rose</title>" in drawing
    rings = drawing.split('<g class="ring">')[1].split("</g>")[0]
    assert rings.count("<circle") == 3
    assert "A ring marks the 3 pictures with a wrong answer." in text_of(part)
    assert "means nothing" in text_of(part)
    assert "<script" not in part


def test_the_map_keeps_its_shape_and_lies_within_its_frame(tmp_path: Path) -> None:
    queries = [query(f"q{n}", "rose") for n in range(4)]
    folder = make_run(tmp_path / "run", queries)
    corners = np.array([(0, 0), (10, 0), (0, 6), (10, 6)], np.float32)
    np.savez(folder / "predictions/test.maps.npz", map=corners, map_ids=ids(queries))
    drawing = section_of(page_of(folder), "map").split('<svg class="embedding-map"')[1]
    width, height = map(float, re.findall(r'viewBox="0 0 (\S+) (\S+)"', drawing)[0])
    spots = [(float(x), float(y)) for x, y in re.findall(r'cx="(\S+)" cy="(\S+)"', drawing)[:4]]

    assert (spots[1][0] - spots[0][0]) / 10 == pytest.approx((spots[0][1] - spots[2][1]) / 6, 0.01)
    assert spots[0][1] > spots[2][1]  # downwards on the page is upwards on the map
    assert all(0 < x < width and 0 < y < height for x, y in spots)


def test_many_classes_share_a_grey(tmp_path: Path) -> None:
    counts = {f"class {n:02}": 1 + (n % 3 == 0) for n in range(20)}
    queries = [query(f"{c}-{k}", c, near=()) for c, n in counts.items() for k in range(n)]
    folder = make_run(tmp_path / "run", queries)
    found = read_embedding_map(folder / "predictions/test.maps.npz", queries)
    text = text_of(section_of(page_of(folder), "map"))

    assert found is not None
    assert len(found.classes) == MARKS == 12
    assert found.others == 8
    twice = {name for name, n in counts.items() if n == 2}
    assert twice <= set(found.classes)
    assert list(found.classes) == sorted(found.classes)
    assert sum(one.mark is None for one in found.points) == 8
    assert len({mark_of(place) for place in range(MARKS)}) == MARKS
    assert "8 other classes 8" in text
    assert "The 12 classes with the most points have a mark of their own." in text


def test_page_and_figures_have_the_same_colours(page: str) -> None:
    light = page.split("@media")[0]

    assert [f"--m{place}: {colour};" in light for place, colour in enumerate(MAP_COLOURS)] == (
        [True] * len(MAP_COLOURS)
    )


def test_maps_of_other_things_and_torn_files_do_no_harm(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", maps=False)
    file = folder / "predictions/test.maps.npz"

    assert read_embedding_map(file, QUERIES) is None
    np.savez(file, ids=np.array(["q1"]), maps=np.zeros((1, 2, 2)))
    assert read_embedding_map(file, QUERIES) is None
    assert 'id="map"' not in page_of(folder)
    objects = np.array([{"a": 1}], dtype=object)
    for content in (b"", b"PK\x03\x04 torn", {"map": objects, "map_ids": np.array(["q1"])},
                    {"map": np.zeros((2, 3)), "map_ids": np.array(["q1", "q2"])}):  # fmt: skip
        if isinstance(content, bytes):
            file.write_bytes(content)
        else:
            np.savez(file, **content)
        assert "test.maps.npz could not be read, so no map is shown." in text_of(page_of(folder))
    places = np.array([(0, 1), (np.nan, 1), (5, 5)], np.float32)
    np.savez(file, map=places, map_ids=np.array(["q1", "q2", "gone"]))
    found = read_embedding_map(file, QUERIES)
    assert found is not None
    assert [one.query.id for one in found.points] == ["q1"]


def test_one_point_and_equal_points_are_a_map_too(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    file = folder / "predictions/test.maps.npz"
    for n in (1, 3):
        np.savez(file, map=np.zeros((n, 2), np.float32), map_ids=np.array(ids(QUERIES[:n])))
        assert "nan" not in section_of(page_of(folder), "map").lower()


def test_classes_come_worst_first_and_only_so_many(tmp_path: Path, page: str) -> None:
    part = section_of(page, "class_search")
    names = re.findall(r'<tr><th scope="row">(.*?)</th>', part)

    assert names == ["lily", "&lt;/script&gt;&lt;b&gt;$x$", "rose"]
    assert "1 of 3 classes has a Recall@1 of 1." in text_of(part)
    row = {"queries": 1, "map_at_r": 0.5, "knn_accuracy": None}
    rows = [{**row, "name": f"c{n}", "recall_at_1": n / 99} for n in range(99, -1, -1)]
    rows.append({**row, "name": "none", "recall_at_1": None})
    assert [sorted_classes(rows)[place]["name"] for place in (0, 1, -1)] == ["c0", "c1", "none"]
    folder = make_run(tmp_path / "run", content=result(retrieval_per_class=rows))
    many = section_of(page_of(folder), "class_search")
    assert many.count('<th scope="row">') == CLASSES_SHOWN == 60
    assert "the 60 worst of 101 classes" in text_of(many)


def test_the_confusions_are_those_of_the_vote(page: str) -> None:
    assert "the class that the nearest neighbours vote for" in text_of(section_of(page, "classes"))


def test_a_split_without_rows_or_scores_still_has_a_page(tmp_path: Path) -> None:
    content = {"task": "retrieve", "split": "val", "headline": {}, "answers": {"reason": "none"}}
    write_json(tmp_path / "run/predictions/val.metrics.json", content)
    write_json(tmp_path / "run/run.json", {"id": "r", "status": "finished"})
    page = page_of(tmp_path / "run")

    assert "there are no thresholds: none." in text_of(page)
    assert 'id="neighbours"' not in page


def test_every_figure_has_its_numbers_beside_it(tmp_path: Path) -> None:
    record = read_run_record(make_run(tmp_path / "run"))
    files = write_retrieval_figures(tmp_path / "figures", record, "test")
    tables = {}
    for file in files:
        if file.suffix == ".csv":
            with file.open(encoding="utf-8", newline="") as lines:
                tables[file.stem] = list(csv.DictReader(lines))

    assert set(tables) == {"map_test", "retrieval_classes_test", "neighbours_test"}
    assert {file.stem for file in files if file.suffix == ".png"} == set(tables)
    assert [row["right"] for row in tables["map_test"]] == ["1", "0", "0", "1", "0"]
    assert [row["name"] for row in tables["retrieval_classes_test"]] == ["lily", EVIL, "rose"]
    first = tables["neighbours_test"][0]
    assert (first["id"], first["rank"], first["neighbour"]) == ("q3", "1", "g1")
    assert (first["group"], first["path"]) == ("worst", "pictures/g1.png")


def test_plot_writes_the_figures_of_retrieval(tmp_path: Path) -> None:
    content = {
        "split": "val", "task": "retrieve", "retrieval_per_class": result()["retrieval_per_class"],
    }  # fmt: skip
    write_json(tmp_path / "predictions/val.metrics.json", content)
    write_json(tmp_path / "run.json", {"id": "r"})

    assert [file.name for file in write_run_figures(tmp_path)] == [
        "retrieval_classes_val.png", "retrieval_classes_val.csv",
    ]  # fmt: skip


def test_the_sheet_shows_no_query_twice_and_fills_its_rows() -> None:
    many = [query(f"q{n:02}", "rose", ap_at_r=n / 40) for n in range(40)]
    wrong = [query(f"w{n}", "lily", start=n / 10) for n in range(6)]
    rows = choose_rows([*many, *wrong])

    assert [group for group, _ in rows] == ["worst"] * 4 + ["sample"] * 4
    assert ids([one for _, one in rows[:4]]) == ["w0", "w1", "w2", "w3"]
    assert len({one.id for _, one in rows}) == 8
    assert choose_rows([]) == []


def test_a_row_of_the_sheet_marks_right_and_wrong_and_missing_pictures() -> None:
    pictures = Thumbnails({"g1": "a.png"}, {"a.png": Image.new("RGB", (8, 6))})
    figure = neighbours_figure([QUERIES[1], query("q8", "rose", near=())], pictures)
    axes = figure.axes
    frames = [one.patches[0].get_linestyle() for one in axes[1:3]]

    assert len(axes) == 2 * 6
    assert [one.get_title() for one in axes[:3]] == [
        "lily\nanswer rose\naccept", "rose\nother class, 0.050", "lily\nown class, 0.150",
    ]  # fmt: skip
    assert frames[0] != "-" == frames[1]
    assert [len(one.images) for one in axes[:3]] == [0, 1, 0]
    assert axes[2].texts[0].get_text() == "picture\nnot found"
    assert (axes[1].get_xlim(), axes[1].get_ylim()) == ((-0.5, 7.5), (6.5, -1.5))


def test_bars_of_many_classes_are_the_weakest_ones() -> None:
    rows = [{"name": f"c{n}", "queries": 2, "recall_at_1": n / 70} for n in range(70)]
    axes = class_search_figure(rows).axes[0]
    widths = [bar.get_width() for bar in axes.patches]

    assert len(widths) == CLASSES_SHOWN
    assert widths[-1] == min(widths) == 0  # the weakest is on top
    assert (
        axes.get_title(loc="left") == "The 60 weakest of 70 classes by search (number of queries)"
    )
