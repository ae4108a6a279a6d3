"""The programs in the documentation run as they are printed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"


def test_your_own_model_runs_as_printed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (program,) = re.findall(r"```python\n(.*?)```", (DOCS / "your-own-model.md").read_text(), re.S)
    exec(compile(program, "your-own-model.md", "exec"), {"__name__": "__main__"})
    assert re.fullmatch(r"\d+\.\d{3} after epoch 8, best \d\n", capsys.readouterr().out)
    assert (tmp_path / "checkpoints" / "best_model.pth").exists()
