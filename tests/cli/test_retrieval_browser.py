"""A retrieval run's page in a real browser: its pictures, its map, and that nothing is fetched."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sightline.reports.run_page import write_run_report

pytestmark = pytest.mark.browser
NAMES = [*(f"digit {d}" for d in range(9)), "</script><b>x"]
QUERIES, GALLERY, VOTERS = 200, 600, 20


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a run on real handwritten digits, embedded as their pixels."""
    folder = tmp_path_factory.mktemp("runs") / "digits"
    write_run(folder)
    return write_run_report(folder)


def write_run(folder: Path) -> None:
    from PIL import Image
    from sklearn.datasets import load_digits
    from sklearn.decomposition import PCA

    pixels, targets = load_digits(return_X_y=True)
    pixels, targets = pixels[: QUERIES + GALLERY], targets[: QUERIES + GALLERY]
    (folder / "predictions").mkdir(parents=True)
    (folder / "index").mkdir()
    (folder / "pictures").mkdir()
    for row, one in enumerate(pixels):
        picture = Image.fromarray((one.reshape(8, 8) * 15.9).astype(np.uint8))
        picture.save(folder / f"pictures/{row}.png")
    # Noise, so that a few neighbours are wrong.
    embeddings = pixels + np.random.default_rng(0).normal(0, 5.0, pixels.shape)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    places = PCA(2, random_state=0).fit_transform(embeddings[:QUERIES])
    ids = np.array([f"q{row}" for row in range(QUERIES)])
    np.savez(folder / "predictions/test.maps.npz", map=places.astype(np.float32), map_ids=ids)
    with (folder / "index/rows.csv").open("w", encoding="utf-8", newline="") as lines:
        writer = csv.writer(lines)
        writer.writerow(["id", "label", "group", "split", "path"])
        for row in range(QUERIES, QUERIES + GALLERY):
            name = NAMES[targets[row]]
            writer.writerow([f"g{row}", name, "", "fit", f"pictures/{row}.png"])
    write_predictions(folder, embeddings, targets)
    info = {"id": "digits", "name": "digits", "task": "retrieve", "status": "finished"}
    (folder / "run.json").write_text(json.dumps(info), encoding="utf-8")


def write_predictions(folder: Path, embeddings: Any, targets: Any) -> None:
    heads = ["id", "path", "target", "object", "prediction", "confidence", "verdict", "distance"]
    heads += ["margin", "first_rank", "relevant", "ap_at_r"]
    for rank in range(1, 6):
        heads += [f"nearest_{rank}", f"nearest_{rank}_label", f"nearest_{rank}_distance"]
    distances = 1 - embeddings[:QUERIES] @ embeddings[QUERIES:].T
    first_hits, right = [], []
    with (folder / "predictions/test.csv").open("w", encoding="utf-8", newline="") as lines:
        writer = csv.writer(lines)
        writer.writerow(heads)
        for row, away in enumerate(distances):
            order = np.argsort(away, kind="stable")
            labels = targets[QUERIES + order]
            hits = labels == targets[row]
            relevant = int(hits.sum())
            gains = hits[:relevant].cumsum() / np.arange(1, relevant + 1)
            votes = np.bincount(labels[:VOTERS], 1 / (away[order[:VOTERS]] + 1e-6), minlength=10)
            shares = np.sort(votes / votes.sum())[::-1]
            answer = int(votes.argmax())
            verdict = "accept" if shares[0] > 0.6 else "ask again"
            first_hits.append(bool(hits[0]))
            right.append(answer == targets[row])
            cells = [f"q{row}", f"pictures/{row}.png", NAMES[targets[row]], "", NAMES[answer]]
            cells += [shares[0], verdict, away[order[0]], 1 - shares[1] / shares[0]]
            cells += [int(hits.argmax()) + 1, relevant, (gains * hits[:relevant]).mean()]
            for place in order[:5]:
                name = NAMES[targets[QUERIES + place]]
                cells += [f"g{QUERIES + place}", name, away[place]]
            writer.writerow(cells)
    write_scores(folder, targets[:QUERIES], first_hits, right)


def write_scores(folder: Path, targets: Any, first_hits: list[bool], right: list[bool]) -> None:
    def estimate(values: Any) -> dict[str, Any]:
        value, half = float(np.mean(values)), 2 * float(np.std(values)) / len(values) ** 0.5
        ends = {"low": max(0.0, value - half), "high": min(1.0, value + half)}
        return {"value": value, **ends, "n": len(values), "unit": "image", "confidence": 0.95}

    hits = np.array(first_hits)
    found = {"recall_at_1": estimate(hits), "knn_accuracy": estimate(right)}
    strangers = estimate([True] * 9 + [False] * 51)
    content = {
        "task": "retrieve",
        "split": "test",
        "n": QUERIES,
        "epoch": 3,
        "checkpoint": "best_model.pth",
        "headline": found,
        "more": {"macro_recall_at_1": estimate(hits), "mrr": estimate(hits)},
        "unmatched": 0,
        "gallery": {
            "kind": "train", "said": "the pictures of train", "pictures": GALLERY, "classes": 10,
        },
        "answers": {
            "error_rate": 0.05, "coverage": estimate(hits), "accepted_accuracy": estimate(right),
            "false_accepts": strangers,
        },
        "thresholds": {
            "max_distance": 0.31, "min_margin": 0.2, "min_concentration": 0.6, "error_rate": 0.05,
            "delta": 0.05, "n": 180, "accepted": 160, "accuracy": 0.98, "lower_bound": 0.953,
            "false_accept_rate": None,
        },
        "retrieval_per_class": [
            {
                "name": name,
                "queries": int((targets == place).sum()),
                "recall_at_1": float(hits[targets == place].mean()),
                "map_at_r": 0.5,
                "knn_accuracy": 0.9,
            }
            for place, name in enumerate(NAMES)
        ],
        "class_names": NAMES,
        "confusion": [],
    }  # fmt: skip
    (folder / "predictions/test.metrics.json").write_text(json.dumps(content), encoding="utf-8")


@pytest.mark.parametrize("width", [1200, 400])
@pytest.mark.parametrize("dark", [False, True])
def test_the_page_is_whole_and_alone(opened: Any, report: Path, width: int, dark: bool) -> None:
    visit = opened(report, width=width, dark=dark)
    page = visit.page
    sizes = page.evaluate(
        """async () => Promise.all([...document.querySelectorAll("#neighbours image")].map(
            async (one) => {
                const picture = new Image();
                picture.src = one.getAttribute("href");
                await picture.decode();
                return picture.naturalWidth;
            }))"""
    )
    boxes = page.evaluate(
        """() => [...document.querySelectorAll("#neighbours .frame use")].map(
            (one) => one.getBoundingClientRect().width)"""
    )

    assert visit.complaints == []
    assert visit.fetched() == []
    assert set(sizes) == {8}
    # 12 worst, up to 8 with a wrong verdict and a sample of 8, with 5 neighbours each.
    assert len(boxes) >= 20 * 6
    assert len(boxes) > len(sizes)
    assert min(boxes) > 60
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert report.stat().st_size < 1_500_000
    page.close()


def test_a_query_stands_before_its_neighbours_in_one_line(opened: Any, report: Path) -> None:
    visit = opened(report)
    found = visit.page.locator("#neighbours .found").first
    boxes = found.locator(".frame").evaluate_all(
        "all => all.map((one) => [one.getBoundingClientRect().x, one.getBoundingClientRect().y])"
    )

    assert [x for x, _ in boxes] == sorted(x for x, _ in boxes)
    assert len({round(y) for _, y in boxes}) == 1
    assert found.locator(".frame.asked-for").count() == 1
    visit.page.close()


def test_the_frames_of_right_and_wrong_differ_without_colour(opened: Any, report: Path) -> None:
    visit = opened(report)
    styles = {
        kind: visit.page.locator(f"#neighbours .frame.{kind}").first.evaluate(
            "one => getComputedStyle(one).borderTopStyle"
        )
        for kind in ("right", "wrong")
    }

    assert styles == {"right": "solid", "wrong": "dashed"}
    visit.page.close()


@pytest.mark.parametrize("dark", [False, True])
def test_every_class_has_a_mark_of_its_own_on_the_map(
    opened: Any, report: Path, dark: bool
) -> None:
    visit = opened(report, dark=dark)
    marks = visit.page.locator(".embedding-map .kind").evaluate_all(
        "all => all.map((one) => getComputedStyle(one).fill + one.firstElementChild.tagName)"
    )
    points = visit.page.locator(".embedding-map .kind > *").count()

    assert len(marks) == len(set(marks)) == len(NAMES)
    assert points == QUERIES
    assert len({mark.removesuffix("rect").removesuffix("circle") for mark in marks}) == 6
    visit.page.close()


def test_names_of_classes_stay_text(opened: Any, report: Path) -> None:
    visit = opened(report)

    assert visit.page.locator("#neighbours b").count() == visit.page.locator(".asked").count()
    assert "</script><b>x" in visit.page.locator(".legend").inner_text()
    assert visit.page.locator("#class_search b").count() == 0
    visit.page.close()


def test_a_printed_page_has_everything(opened: Any, report: Path) -> None:
    visit = opened(report, dark=True)

    assert visit.page.pdf().startswith(b"%PDF")
    assert visit.complaints == []
    visit.page.close()
