"""The programs in the documentation run as they are printed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sightline.data.presets import PRESETS
from sightline.data.settings import AugmentConfig

DOCS = Path(__file__).parents[2] / "docs"
GROWING = (
    *("rotate", "erase", "quarter_turns", "randaugment"),
    *("shadow", "downscale", "blur", "noise", "jpeg"),
)


def test_your_own_model_runs_as_printed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (program,) = re.findall(r"```python\n(.*?)```", (DOCS / "your-own-model.md").read_text(), re.S)
    exec(compile(program, "your-own-model.md", "exec"), {"__name__": "__main__"})
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
        numbers = [float(number) for number in re.findall(r"[\d.]+", cell)]
        ends = [value] if isinstance(value, int | float) else list(dict.fromkeys(value))
        assert list(dict.fromkeys(numbers)) == ends, key
        assert ("↗" in cell) == (preset == "hard" and key in GROWING), key
