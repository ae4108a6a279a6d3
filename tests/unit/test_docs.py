"""The programs in the documentation run as they are printed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from sightline.config.old_names import OLD_NAMES
from sightline.data.augment_settings import AugmentConfig
from sightline.data.presets import PRESETS
from sightline.metrics.conformal import needed_normals
from sightline.training.hooks import TRAINER_HOOKS

DOCS = Path(__file__).parents[2] / "docs"
GROWING = (
    *("rotate", "erase", "quarter_turns", "randaugment"),
    *("shadow", "downscale", "blur", "noise", "jpeg"),
)


def programs() -> list[str]:
    text = (DOCS / "your-own-model.md").read_text(encoding="utf-8")
    found = re.findall(r"```python\n(.*?)```", text, re.S)
    assert len(found) == 2
    return found


def test_your_own_detector_runs_as_printed(capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(programs()[1], "your-own-model.md", "exec"), names)
    lines = capsys.readouterr().out.splitlines()
    epochs = len(names["trainer"].history)
    rates = [f"epoch {one}, learning rate 0.01" for one in range(1, min(epochs, 10) + 1)]
    assert lines[: len(rates)] == rates
    assert lines[epochs] == "no improvement of image_auroc for 5 epochs"
    assert epochs == names["trainer"].progress.best_epoch + 5
    # Chance is 0.5, and 99 calibration images may set a threshold for a budget of 0.05.
    assert names["found"]["image_auroc"] > 0.95
    assert names["metrics"]["pixel_aupro"] > 0.8
    assert names["predictions"]["alarms"].shape == names["scores"].shape == (100,)
    assert len(lines) == epochs + 4


def test_the_table_of_needed_pictures_says_what_is_needed() -> None:
    text = (DOCS / "anomaly.md").read_text(encoding="utf-8")
    rows = [[cell.strip(" `") for cell in line.split("|")[1:-1]] for line in text.splitlines()]
    (head,) = [row for row in rows if row[:1] == ["threshold.false_alarm_budget"]]
    plain, sure = rows[rows.index(head) + 2 : rows.index(head) + 4]
    budgets = [float(cell) for cell in head[1:]]
    assert [int(cell) for cell in plain[1:]] == [needed_normals(one) for one in budgets]
    assert sure[0] == "with `threshold.confidence=0.9"
    assert [int(cell) for cell in sure[1:]] == [needed_normals(one, 0.9) for one in budgets]


def test_the_hooks_of_the_trainers_page_are_those_there_are() -> None:
    text = (DOCS / "trainer_design.md").read_text(encoding="utf-8")
    (order,) = re.findall(r"```\n(fit\(.*?)```", text, re.S)
    named = re.findall(r"\b(on_\w+)", order)
    assert sorted(named) == sorted(TRAINER_HOOKS)


def test_every_page_is_in_the_navigation() -> None:
    settings = (DOCS.parent / "mkdocs.yml").read_text(encoding="utf-8")
    named = re.findall(r"^  - .+: (\S+\.md)$", settings, re.M)
    assert sorted(named) == sorted(page.name for page in DOCS.glob("*.md"))


def test_your_own_model_runs_as_printed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(programs()[0], "your-own-model.md", "exec"), {"__name__": "__main__"})
    assert re.fullmatch(r"\d+\.\d{3} after epoch 8, best \d\n", capsys.readouterr().out)
    assert (tmp_path / "checkpoints" / "best_model.pth").exists()


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_the_table_of_presets_says_what_they_are(preset: str) -> None:
    text = (DOCS / "data.md").read_text(encoding="utf-8")
    rows = [[cell.strip(" `") for cell in line.split("|")[1:-1]] for line in text.splitlines()]
    (head,) = [row for row in rows if row[:2] == ["key", "none"]]
    start = rows.index(head) + 2
    said = {row[0]: row[head.index(preset)] for row in rows[start : rows.index([], start)]}
    assert set(said) == set(AugmentConfig.model_fields) - {"preset"}
    for key, cell in said.items():
        value = getattr(PRESETS[preset], key)
        if key == "randaugment_magnitude" and not PRESETS[preset].randaugment:
            assert cell == ""
            continue
        if key == "erase_area" and not PRESETS[preset].erase:
            assert cell == ""
            continue
        numbers = [float(number) for number in re.findall(r"[\d.]+", cell)]
        ends = [value] if isinstance(value, int | float) else list(dict.fromkeys(value))
        assert list(dict.fromkeys(numbers)) == ends, key
        assert ("↗" in cell) == (preset == "hard" and key in GROWING), key


def test_the_table_of_old_names_is_what_errors_say() -> None:
    text = (DOCS / "reid.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `([A-Z_.]+)` \| (.*) \|$", text, re.M))
    shown = {old: new if " " in new else f"`{new}`" for old, new in OLD_NAMES.items()}
    assert rows == shown
