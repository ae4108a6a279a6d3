"""A run's page in a real browser: what is drawn, what is clicked, and that nothing is fetched."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sightline.metrics import classification as scores
from sightline.metrics.intervals import bootstrap_confusion
from sightline.reports.run_page import write_run_report

pytestmark = pytest.mark.browser
NAMES = [*(f"digit {d}" for d in range(9)), "</script><b>x"]


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on real handwritten digits, predicted by nearest class mean."""
    from PIL import Image
    from sklearn.datasets import load_digits

    folder = tmp_path_factory.mktemp("runs") / "digits_20260901_102231-3f9a1c"
    (folder / "predictions").mkdir(parents=True)
    (folder / "images").mkdir()
    images, targets = load_digits(return_X_y=True)
    means = np.stack([images[600:][targets[600:] == d].mean(axis=0) for d in range(10)])
    for split, rows in (("test", range(300)), ("val", range(300, 600))):
        logits = -((images[rows][:, None] - means) ** 2).sum(axis=2) / 200
        write_evaluation(folder, split, targets[rows], logits)
    for row in range(300):
        pixels = (images[row].reshape(8, 8) * 15.9).astype(np.uint8)
        Image.fromarray(pixels).resize((32, 32)).save(folder / "images" / f"test-{row}.png")
    write_history(folder, epochs=15)
    counts = {d: int((targets[600:] == i).sum()) for i, d in enumerate(NAMES)}
    write_info(folder, counts)
    (folder / "config.yaml").write_text(
        "task: classify\nmodel:\n  name: resnet18\ntrain:\n  monitor: macro_f1\n  mode: max\n",
        encoding="utf-8",
    )
    (folder / "train.log").write_text("[BOOT] start\n[EXIT] TRAINING SUCCESS code=0\n")
    return folder


def write_evaluation(folder: Path, split: str, targets: np.ndarray, logits: np.ndarray) -> None:
    chances = np.exp(logits - logits.max(axis=1, keepdims=True))
    chances /= chances.sum(axis=1, keepdims=True)
    guesses = logits.argmax(axis=1)
    matrix = scores.confusion_matrix(targets, guesses, 10)
    headline = {
        name: bootstrap_confusion(matrix, statistic, resamples=200).as_dict()
        for name, statistic in (("macro_f1", scores.macro_f1), ("accuracy", scores.accuracy))
    }
    content = {
        "split": split,
        "n": len(targets),
        "epoch": 12,
        "checkpoint": "best_model.pth",
        "headline": headline,
        "per_class": scores.classification_scores(matrix).per_class(NAMES),
        "confusion": matrix.tolist(),
        "class_names": NAMES,
        "loss": scores.mean_cross_entropy(logits, targets),
    }
    path = folder / "predictions" / f"{split}.metrics.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    with path.with_name(f"{split}.csv").open("w", encoding="utf-8", newline="") as lines:
        writer = csv.writer(lines)
        writer.writerow(["id", "path", "target", "prediction", "confidence"])
        for row, (target, guess) in enumerate(zip(targets, guesses, strict=True)):
            file = f"images/{split}-{row}.png"
            chance = round(float(chances[row, guess]), 4)
            writer.writerow([f"{split}-{row}", file, NAMES[target], NAMES[guess], chance])


def write_history(folder: Path, *, epochs: int) -> None:
    with (folder / "metrics.jsonl").open("w", encoding="utf-8") as lines:
        for epoch in range(1, epochs + 1):
            row = {
                "event": "epoch",
                "epoch": epoch,
                "split": "val",
                "train_loss": 2.3 * math.exp(-epoch / 4) + 0.02,
                "valid_loss": 2.3 * math.exp(-epoch / 4) + 0.11 + 0.004 * epoch,
                "macro_f1": 0.93 - 0.8 * math.exp(-epoch / 3),
                "accuracy": 0.935 - 0.8 * math.exp(-epoch / 3),
                "lr": 3e-4 * (1 + math.cos(math.pi * epoch / 15)) / 2,
            }
            lines.write(json.dumps(row) + "\n")


def write_info(folder: Path, counts: dict[str, int]) -> None:
    info = {
        "id": folder.name,
        "task": "classify",
        "name": "digits",
        "status": "finished",
        "command": ["sightline", "train", "classify/basic", "train.epochs=15"],
        "git": {"commit": "0123456789abcdef", "dirty": True},
        "versions": {"python": "3.11.9", "torch": "2.11.0", "sightline": "0.1.0"},
        "device": {"type": "cpu", "threads": 2, "precision": "fp32"},
        "seeds": {"project": 42},
        "times": {"started": "2026-09-01T10:22:33+00:00", "ended": "2026-09-01T10:26:01+00:00"},
        "best": {"metric": "macro_f1", "value": 0.9153, "epoch": 12},
        "data": {"train": 1197, "val": 300, "test": 300, "class_counts": {"train": counts}},
        "test_reads": [{"time": "2026-09-01T10:27:00+00:00", "checkpoint": "best_model.pth"}],
    }
    (folder / "run.json").write_text(json.dumps(info), encoding="utf-8")


@pytest.mark.parametrize("width", [1200, 400])
@pytest.mark.parametrize("dark", [False, True])
def test_the_page_is_whole_and_alone(
    opened: Any, run_folder: Path, tmp_path: Path, width: int, dark: bool
) -> None:
    report = write_run_report(run_folder, tmp_path / "report.html")
    visit = opened(report, width=width, dark=dark)
    page = visit.page
    sizes = page.evaluate("[...document.images].map((image) => image.naturalWidth)")

    assert visit.complaints == []
    assert visit.fetched() == []
    assert len(sizes) == 24
    assert min(sizes) > 0
    assert len(visit.coloured_pixels()) == 3
    assert min(visit.coloured_pixels()) > 250
    # Wide tables scroll inside their frame; the page itself never scrolls sideways.
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert page.title() == "digits – run report"
    assert report.stat().st_size < 500_000
    page.close()


def test_names_of_classes_stay_text(opened: Any, run_folder: Path, tmp_path: Path) -> None:
    visit = opened(write_run_report(run_folder, tmp_path / "report.html"))

    assert visit.page.locator("main b").evaluate_all("all => all.map((b) => b.textContent)") == [
        ""
        for _ in range(4)  # the marks of the four intervals, and none from a name
    ]
    assert visit.page.locator(".heat tbody th").last.text_content() == "</script><b>x"
    visit.page.close()


def test_a_table_is_sorted_by_clicking_and_by_keyboard(
    opened: Any, run_folder: Path, tmp_path: Path
) -> None:
    visit = opened(write_run_report(run_folder, tmp_path / "report.html"))
    table = visit.page.locator("#classes table.sortable").first
    column = "rows => rows.map((row) => Number(row.cells[3].dataset.value))"

    table.get_by_role("button", name="F1").click()
    falling = table.locator("tbody tr").evaluate_all(column)
    visit.page.keyboard.press("Enter")
    rising = table.locator("tbody tr").evaluate_all(column)

    assert falling == sorted(falling, reverse=True)
    assert rising == sorted(falling)
    assert len(set(rising)) > 2
    assert table.locator("th[aria-sort=ascending]").count() == 1
    visit.page.close()


def test_hovering_a_chart_shows_its_values(opened: Any, run_folder: Path, tmp_path: Path) -> None:
    visit = opened(write_run_report(run_folder, tmp_path / "report.html"))
    plot = visit.page.locator(".plot").first

    plot.locator(".u-over").hover()
    values = plot.locator(".u-legend .u-value").all_text_contents()

    assert values[0] == "8"
    assert float(values[1]) == pytest.approx(2.3 * math.exp(-2) + 0.02, abs=1e-4)
    visit.page.close()


def test_one_epoch_is_a_point_and_a_failed_run_still_has_a_page(
    opened: Any, run_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    info = json.loads((run_folder / "run.json").read_text(encoding="utf-8"))
    info |= {"status": "failed", "error": "NonFiniteError: <loss> at step 31", "best": None}
    (folder / "run.json").write_text(json.dumps(info), encoding="utf-8")
    write_history(folder, epochs=1)
    visit = opened(write_run_report(folder))

    assert visit.complaints == []
    assert min(visit.coloured_pixels()) > 6
    assert "NonFiniteError: <loss> at step 31" in visit.page.locator(".notice.bad").inner_text()
    visit.page.close()


def test_a_printed_page_is_light_and_has_its_charts(
    opened: Any, run_folder: Path, tmp_path: Path
) -> None:
    visit = opened(write_run_report(run_folder, tmp_path / "report.html"), dark=True)

    pdf = visit.page.pdf()
    assert pdf.startswith(b"%PDF")
    assert visit.complaints == []
    visit.page.close()
