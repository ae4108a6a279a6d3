from __future__ import annotations

import base64
import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from report_pages import page_of, text_of, write_json

from sightline.errors import RunError
from sightline.reports.record import read_run_record
from sightline.reports.run_page import write_run_report
from sightline.reports.wording import choice_sentence, sealed_sentence

EVIL = "</script><b>x"
ESTIMATE = {"value": 0.75, "low": 0.41, "high": 0.93, "n": 12, "unit": "image", "confidence": 0.95}


def make_run(folder: Path, **info: Any) -> Path:
    folder.mkdir()
    write_json(folder / "run.json", {"id": "r-1", "name": "trial", "status": "finished"} | info)
    return folder


def evaluate(folder: Path, split: str, *, names: list[str] | None = None, **more: Any) -> None:
    names = names or ["cat", "dog"]
    size = range(len(names))
    content = {
        "split": split,
        "n": 12,
        "epoch": 3,
        "checkpoint": "best_model.pth",
        "headline": {"macro_f1": ESTIMATE},
        "per_class": [
            {"name": n, "precision": 0.5, "recall": 0.25, "f1": 1 / 3, "support": 6} for n in names
        ],
        "confusion": [
            [4 if i == j else int(j == (i + 1) % len(names)) for j in size] for i in size
        ],
        "class_names": names,
    }
    write_json(folder / "predictions" / f"{split}.metrics.json", content | more)


def predict(folder: Path, split: str, rows: list[tuple[str, str, str, str, Any]]) -> None:
    path = folder / "predictions" / f"{split}.csv"
    path.parent.mkdir(exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as lines:
        writer = csv.writer(lines)
        writer.writerow(["id", "path", "target", "prediction", "confidence", "prob_cat"])
        writer.writerows([*row, 0.5] for row in rows)


def test_a_run_with_nothing_but_its_identity_has_a_page(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", status="created")
    text = text_of(page_of(folder))

    assert "No split has been evaluated yet." in text
    assert "The test split has not been read yet." in text
    assert "no checkpoint was chosen by a metric" not in text
    assert [p.name for p in folder.iterdir() if p.name.startswith(".")] == []


def test_a_failed_run_shows_its_error_as_text(tmp_path: Path) -> None:
    page = page_of(make_run(tmp_path / "run", status="failed", error="bad <img src=x> & more"))

    assert "This run failed" in page
    assert "bad &lt;img src=x&gt; &amp; more" in page
    assert "<img src=x>" not in page


def test_a_validation_number_is_never_shown_as_test(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", best={"metric": "macro_f1", "value": 0.8, "epoch": 3})
    evaluate(folder, "val")
    before = text_of(page_of(folder))
    # Somebody copies the file: what it says inside counts, not what it is called.
    copied = (folder / "predictions" / "val.metrics.json").read_text(encoding="utf-8")
    (folder / "predictions" / "test.metrics.json").write_text(copied, encoding="utf-8")
    after = text_of(page_of(folder))

    for text in (before, after):
        assert "The test split has not been read yet." in text
        assert "Validation split Macro F1 0.750" in text
        assert "Test split Macro" not in text
        assert "optimistic" in text
    assert "it is not shown" in after


def test_headlines_come_with_interval_and_n_and_test_comes_first(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", test_reads=[{"time": "t", "checkpoint": "best_model.pth"}])
    for split in ("val", "test"):
        evaluate(folder, split)
    text = text_of(page_of(folder))

    assert "Test split Macro F1 0.750 95 % interval 0.410 to 0.930 n = 12 images" in text
    assert text.index("Test split Macro F1") < text.index("Validation split Macro F1")
    assert "The test split was read once" in text


def test_how_often_test_was_read_is_said(tmp_path: Path) -> None:
    reads = [{"time": "2026-09-01T10:00:00", "checkpoint": "best_model.pth"}] * 3
    folder = make_run(tmp_path / "run", test_reads=reads)
    assert "the file with its result is not in" in sealed_sentence(read_run_record(folder))

    evaluate(folder, "test")
    assert "was read 3 times" in sealed_sentence(read_run_record(folder))


@pytest.mark.parametrize(
    ("best", "mode", "words"),
    [
        (
            {"metric": "macro_f1", "value": 0.9153, "epoch": 12},
            "max",
            "the highest macro F1 on the",
        ),
        (
            {"metric": "valid_loss", "value": 0.2, "epoch": 2},
            "min",
            "the lowest validation loss (0.2",
        ),
        ({"metric": "val/auroc", "value": 0.2, "epoch": 2}, "max", "AUROC on the validation split"),
        (None, "max", "no checkpoint was chosen"),
    ],
)
def test_the_choice_of_the_checkpoint_is_a_sentence(
    tmp_path: Path, best: Any, mode: str, words: str
) -> None:
    folder = make_run(tmp_path / "run", best=best)
    (folder / "config.yaml").write_text(f"train:\n  mode: {mode}\n", encoding="utf-8")
    assert words in choice_sentence(read_run_record(folder))


def test_nothing_a_user_named_becomes_markup(tmp_path: Path) -> None:
    folder = make_run(
        tmp_path / "run", name=EVIL, task=EVIL, command=[EVIL], seeds={EVIL: EVIL}, error=EVIL
    )
    evaluate(folder, "test", names=[EVIL, 'a" onmouseover="alert(1)'], checkpoint=EVIL)
    predict(folder, "test", [(EVIL, EVIL, EVIL, 'a" onmouseover="alert(1)', 0.9)])
    (folder / "config.yaml").write_text(f"project: '{EVIL}'\n", encoding="utf-8")
    (folder / "x.log").write_text(EVIL, encoding="utf-8")
    write_json(folder / "metrics.jsonl", {"event": "epoch", "epoch": 1, f"loss{EVIL}": 1.0})
    page = page_of(folder)

    assert "<b>x" not in page
    assert 'a" onmouseover' not in page
    # Two scripts and the data of the charts, each opened and closed once.
    assert page.count("<script") == page.count("</script>") == 3
    data = re.search(r'id="chart-data">(.*?)</script>', page, flags=re.DOTALL)
    assert data is not None
    assert json.loads(data[1])["charts"][0]["data"] == [[1], [1.0]]


def test_the_page_names_no_address_and_lets_only_its_own_scripts_run(tmp_path: Path) -> None:
    page = page_of(make_run(tmp_path / "run"))
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)

    assert policy is not None
    assert "default-src 'none'" in policy[1]
    assert policy[1].count("'sha256-") == 2
    assert not re.search(r'(src|href)="(?!#|data:)', page)
    assert "Permission is hereby granted" in page  # the licence travels with the chart script


def test_many_classes_become_a_list_of_confusions(tmp_path: Path) -> None:
    few, many = make_run(tmp_path / "few"), make_run(tmp_path / "many")
    evaluate(few, "test", names=[f"k{i:02}" for i in range(30)])
    evaluate(many, "test", names=[f"k{i:02}" for i in range(31)])

    assert '<table class="heat">' in page_of(few)
    assert '<table class="heat">' not in page_of(many)
    assert "k30" in page_of(many)
    assert "truth k00, predicted k01: 1 of 5 (20.0 %)" in page_of(few)


def test_other_tasks_may_leave_parts_out(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", task="anomaly", data={"train": 5, "root": None})
    write_json(
        folder / "predictions" / "test.metrics.json",
        {"split": "test", "headline": {"image_auroc": ESTIMATE | {"low": None, "value": None}}},
    )
    (folder / "predictions" / "test.csv").write_text("id,score\n1,0.5\n", encoding="utf-8")
    text = text_of(page_of(folder))

    assert "Image AUROC –" in text
    assert "Confusion" not in text
    assert "Worst mistakes" not in text


def test_half_a_line_is_passed_over_and_said(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", status="running")
    (folder / "metrics.jsonl").write_text('{"event": "epoch", "epoch": 1, "lr": 0.1}\n{"event": "e')
    page = page_of(folder)

    assert "line 2 could not be read" in page
    assert '"data": [[1], [0.1]]' in page


def test_the_log_is_plain_text_without_progress_bars(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    (folder / "train.log").write_text("old\n\x1b[32m 10%\r 99%\r100%\x1b[0m done\n[EXIT] ok\n")
    assert read_run_record(folder).log_tail == "old\n100% done\n[EXIT] ok"


def test_no_run_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"run\.json"):
        write_run_report(tmp_path)
    (tmp_path / "run.json").write_text("[1, 2")
    with pytest.raises(RunError, match="cannot be read"):
        write_run_report(tmp_path)


def test_pictures_are_small_upright_and_found_under_the_root(tmp_path: Path) -> None:
    turned = Image.new("RGB", (600, 300), "white")
    exif = Image.Exif()
    exif[0x0112] = 6
    turned.save(tmp_path / "turned.jpg", exif=exif)
    folder = make_run(tmp_path / "run", data={"test": 3, "root": str(tmp_path)})
    evaluate(folder, "test")
    (folder / "broken.png").write_bytes(b"\x89PNG no picture")
    wrong = ("cat", "dog", 0.9)
    predict(
        folder,
        "test",
        [("1", "turned.jpg", *wrong), ("2", "gone.jpg", *wrong), ("3", "broken.png", *wrong)],
    )
    page = page_of(folder)
    pictures = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', page)

    assert len(pictures) == 1
    with Image.open(io.BytesIO(base64.b64decode(pictures[0]))) as picture:
        assert picture.size == (80, 160)
    assert page.count("picture not found or not readable") == 2
    assert "gone.jpg" in page
