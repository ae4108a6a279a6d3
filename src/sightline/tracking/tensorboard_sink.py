"""TensorBoard: event files in the run's folder."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sightline.errors import MissingExtraError
from sightline.tracking.sink import Begun, Ending, Tracked


class TensorboardSink:
    """Event files of one run, which further files go on with."""

    def __init__(self, tracked: Tracked) -> None:
        self._tracked = tracked
        self._writer: Any = None
        self._step = 0

    def begin(self, known: Begun | None, attempt: int) -> Begun:
        """Open a new event file beside those there are."""
        name = "tensorboard" if attempt == 1 else f"tensorboard-{attempt}"
        folder = self._tracked.run.path / name
        is_new = known is None or not folder.is_dir()
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            purpose = "Tracking with TensorBoard"
            raise MissingExtraError("tensorboard", "tensorboard", purpose) from error
        self._writer = SummaryWriter(str(folder))
        if is_new:
            self._text("config", _as_code({**self._tracked.config, "run": self._tracked.facts()}))
        self._tracked.say(f"events in {folder}")
        return Begun(name, name, is_new)

    def log(self, values: Mapping[str, float], step: int, *, axis: str, time: float) -> None:
        """Add scalars."""
        self._step = max(step, self._step)
        for name, value in values.items():
            self._writer.add_scalar(name, value, step, walltime=time)

    def summarize(self, values: Mapping[str, float]) -> None:
        """Add scalars at the last step."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, self._step)

    def pictures(self, name: str, shown: Sequence[tuple[Path, str]], step: int) -> None:
        """Add images."""
        import numpy as np
        from PIL import Image

        for place, (file, _) in enumerate(shown, 1):
            with Image.open(file) as opened:
                pixels = np.asarray(opened.convert("RGB"))
            self._writer.add_image(f"{name}/{place}", pixels, step, dataformats="HWC")

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Add a text that TensorBoard shows as a table."""
        lines = [columns, ["---"] * len(columns), *([_cell(cell) for cell in row] for row in rows)]
        self._text(name, "\n".join(f"| {' | '.join(line)} |" for line in lines))

    def curve(self, name: str, values: Sequence[float]) -> None:
        """Add scalars with the rank in the place of the step."""
        for rank, value in enumerate(values, 1):
            self._writer.add_scalar(f"curve/{name}", value, rank)

    def artifact(self, file: Path, facts: Mapping[str, str]) -> None:
        """Say where the model is: TensorBoard keeps no files."""
        self._text("model", _as_code({"file": str(file), **facts}))

    def flush(self) -> None:
        """Write what is waiting."""
        self._writer.flush()

    def finish(self, ending: Ending) -> None:
        """Say how the run ended, and close the file."""
        self._text("status", ending)
        self._writer.close()

    def _text(self, name: str, text: str) -> None:
        self._writer.add_text(name, text, self._step)


def _as_code(tree: Mapping[str, Any]) -> str:
    """The data, indented so that it is shown as it is."""
    lines = json.dumps(tree, indent=2, default=str).splitlines()
    return "\n".join(f"    {line}" for line in lines)


def _cell(cell: Any) -> str:
    text = "" if cell is None else f"{cell:.6g}" if isinstance(cell, float) else str(cell)
    return text.replace("|", "\\|")
