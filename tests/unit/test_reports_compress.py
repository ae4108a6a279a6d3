"""What a page and the figures say of compression: never the encoder alone, and what was chosen."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest
from compared_runs import make_run

from sightline.reports.compress_figures import recall_bars, recall_shares
from sightline.reports.compress_sections import gain_in_words
from sightline.reports.run_figures import write_run_figures
from sightline.reports.run_page import write_run_report
from sightline.runs import RunFolder


def estimate(value: float, apart: float = 0.02) -> dict[str, Any]:
    return {"value": value, "low": value - apart, "high": value + apart, "n": 40, "unit": "query",
            "confidence": 0.95}  # fmt: skip


@pytest.fixture
def encoded(tmp_path: Path) -> RunFolder:
    """A run whose encoder keeps more than PCA at k = 5, and less at k = 10."""
    run = make_run(tmp_path, "dpe", "compress")
    scores = {
        "task": "compress",
        "n": 40,
        "headline": {"recall_at_5": estimate(0.8), "recall_at_10": estimate(0.7)},
        "lower_bounds": {"recall_at_5": 0.777, "recall_at_10": 0.671},
        "baselines": [
            {
                "name": "pca",
                "scores": {"recall_at_5": estimate(0.75), "recall_at_10": estimate(0.74)},
                "gains": {"recall_at_5": estimate(0.05), "recall_at_10": estimate(-0.04)},
            }
        ],
        "pool": {"rows": 3000, "held_out": 40, "others": 2960},
        "sizes": {"numbers": 64, "bytes": 256, "latent_numbers": 16, "latent_bytes": 64},
        "more": {"rank_correlation": estimate(0.98), "stress": {"value": 0.0612, "n": 40}},
    }
    folder = run.path / "predictions"
    folder.mkdir(exist_ok=True)
    (folder / "test.metrics.json").write_text(json.dumps(scores))
    rows = [["id", "recall_at_5", "recall_at_10", "pca_recall_at_5", "pca_recall_at_10"]]
    rows += [[f"q{n}", n % 6 / 5, n % 11 / 10, 0.4, 0.5] for n in range(40)]
    with (folder / "test.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return run


def text_of(page: Path) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page.read_text(encoding="utf-8")))


def test_the_encoder_is_beside_pca_with_difference_pool_and_sizes(encoded: RunFolder) -> None:
    said = text_of(write_run_report(encoded.path))
    for words in (
        "Neighbours that are kept",
        "PCA, as many numbers",
        "Recall@5 0.800 0.780 to 0.820 0.777 0.750 0.730 to 0.770 +0.050 +0.030 to +0.070 "
        "the encoder keeps more",
        "-0.040 -0.060 to -0.020 the encoder keeps LESS",
        "3,000 rows, 2,960 of them not held out",
        "64 numbers become 16: 64 bytes a vector for 256 of float32, 4.0 times smaller",
        "rank correlation of 0.980",
    ):
        assert words in said, words


def test_figures_have_their_numbers_beside_them(encoded: RunFolder) -> None:
    files = {file.name: file for file in write_run_figures(encoded.path)}
    assert {"recall_test.png", "recall_of_queries_test.png"} <= set(files)
    with files["recall_test.csv"].open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert [(row["score"], row["way"], float(row["value"])) for row in rows] == [
        ("recall_at_5", "encoder", 0.8),
        ("recall_at_10", "encoder", 0.7),
        ("recall_at_5", "pca", 0.75),
        ("recall_at_10", "pca", 0.74),
    ]
    with files["recall_of_queries_test.csv"].open(newline="") as lines:
        shares = list(csv.DictReader(lines))
    mine = [float(row["share"]) for row in shares if row["way"] == "encoder"]
    assert mine == pytest.approx([4 / 40] * 7 + [3 / 40] * 4)
    pca = {float(row["recall"]): float(row["share"]) for row in shares if row["way"] == "pca"}
    assert pca[0.5] == 1.0


def test_rows_without_scores_draw_nothing() -> None:
    assert recall_bars({"headline": {"recall_at_5": {"value": None}}}) == []
    assert recall_shares([]) == {}
    assert recall_shares([{"id": "a", "recall_at_5": "0.4"}])["encoder"][2] == (0.4, 1.0)
    assert gain_in_words({}) == "not compared"
    assert "chance" in gain_in_words({"value": 0.01, "low": -0.01, "high": 0.03})


def search_json(**more: Any) -> dict[str, Any]:
    def row(form: str, size: int, value: float, **facts: Any) -> dict[str, Any]:
        return {
            "form": form, "bytes": size, "ratio": 256 / size, "split": "test",
            "recall": {"5": estimate(value) | {"lower": value - 0.015}},
            "pool": {"rows": 900, "held_out": 900, "others": 0},
            "build_seconds": 1.5, "encode_microseconds": 2.25, "chosen": False, **facts,
        }  # fmt: skip

    says = "learned-32-opq-8 keeps more than opq-8, the best other form of 8 bytes: +0.0300"
    return {
        "target": "recall@5>=0.8",
        "verdict": "confirmed",
        "says": "learned-32-opq-8: 8 bytes a vector, 32.0 times smaller",
        "rows": [
            row("learned-32-opq-8", 8, 0.83, chosen=True, against={"says": says}),
            row("opq-8", 8, 0.80),
            row("pca-8-int8", 8, 0.7),
            row("pca-6-int8", 6, 0.61),
        ],
        "tried": [
            {"form": "pca-8-int8", "bytes": 8, "value": 0.71, "lower": 0.69},
            {"form": "pca-64-int8", "bytes": 64, "value": 0.99, "lower": 0.98},
            {"form": "learned-32-opq-8", "bytes": 8, "value": 0.84, "lower": 0.82},
        ],
        "notes": ["pq and opq need Faiss"],
        **more,
    }


def test_the_page_of_a_search_has_every_form_and_what_was_chosen(tmp_path: Path) -> None:
    run = make_run(tmp_path, "compress", "compress")
    run.update(kind="compression search")
    (run.path / "search.json").write_text(json.dumps(search_json()))
    said = text_of(write_run_report(run.path))
    for words in (
        "learned-32-opq-8: 8 bytes a vector, 32.0 times smaller.",
        "40 queries in a pool of 900 rows, all of them held out",
        "learned-32-opq-8 (chosen) 32.0 × 0.830 0.810 to 0.850 0.815 1.50 2.2",
        "pca-6-int8 42.7 × 0.610",
        "keeps more than opq-8, the best other form of 8 bytes: +0.0300.",
        "All 3 forms that were tried on val",
        "pca-64-int8 64 0.990 0.980",
        "pq and opq need Faiss",
    ):
        assert words in said, words
    assert "No split has been evaluated" not in said
    files = [file.name for file in write_run_figures(run.path)]
    assert files == ["forms.png", "forms.csv"]


@pytest.mark.parametrize(
    "content", [{}, {"rows": []}, {"rows": [{}]}, search_json(tried=[], says=None, target=None)]
)
def test_half_a_search_is_shown_as_far_as_it_goes(content: dict[str, Any], tmp_path: Path) -> None:
    run = make_run(tmp_path, "compress", "compress")
    (run.path / "search.json").write_text(json.dumps(content))
    assert "compress" in text_of(write_run_report(run.path))
