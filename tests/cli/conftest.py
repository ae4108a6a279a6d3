"""The command line, run in this process where speed matters, and a trained run to work with."""

from __future__ import annotations

import contextlib
import csv
import functools
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

CLASSES = ("0_zero", "1_one", "7_seven")
PER_CLASS = 40
TINY = ("model.name=test_resnet", "train.epochs=1", "train.warmup_epochs=0", "train.batch_size=16")
SEARCHING = (
    *("retrieve/digits", "model.name=test_resnet", "train.epochs=2", "train.warmup_epochs=0"),
    *("train.batch_size=24", "eval.bootstrap=100", "data.workers=0", "model.embedding_dim=16"),
)
MOST_LINES = 24
WIDEST = 120


@dataclass(frozen=True)
class Outcome:
    """How a command ended and what it printed."""

    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        return self.out + self.err

    @property
    def screen(self) -> list[str]:
        """The error as a user sees it: from its first line to the end."""
        lines = self.err.splitlines()
        start = next((n for n, line in enumerate(lines) if line.lower().startswith("error")), 0)
        return lines[start:]


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def own_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    monkeypatch.setenv("COLUMNS", str(WIDEST))
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)


def run_here(*arguments: object) -> Outcome:
    """`sightline ARGUMENTS` in this process."""
    from sightline.cli import main

    out, err, code = io.StringIO(), io.StringIO(), -1
    before = sys.argv
    sys.argv = ["sightline", *map(str, arguments)]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main()
    except SystemExit as end:
        code = int(end.code or 0)
    finally:
        sys.argv = before
    return Outcome(code, out.getvalue(), err.getvalue())


def run_apart(
    *arguments: object, cwd: Path | None = None, before: Sequence[str] = (), **options: Any
) -> Outcome:
    """`python -m sightline ARGUMENTS` as its own process, with no standard input."""
    done = subprocess.run(
        [*before, sys.executable, "-m", "sightline", *map(str, arguments)],
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        **options,
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


class CommandLine:
    """What a test needs of the command line: ways to run it, and ways to look at the result."""

    tiny = TINY
    searching = SEARCHING

    def __call__(self, *arguments: object) -> Outcome:
        """Run a command in this process: torch is imported once for all tests."""
        return run_here(*arguments)

    def apart(self, *arguments: object, **options: Any) -> Outcome:
        """Run a command as a process of its own, as a user does."""
        return run_apart(*arguments, **options)

    def train(self, *settings: object, code: int = 0) -> tuple[Outcome, dict[str, Any]]:
        """Train a tiny model in the working directory; the outcome, and the newest run.json."""
        return train(*settings, code=code)

    def newest(self, exp_dir: Path | str = "experiments/train") -> dict[str, Any]:
        """run.json of the newest run, with its path."""
        return newest(exp_dir)

    def screen(self, outcome: Outcome, *, code: int) -> str:
        """The error's text, after checking that it is one screen without a traceback."""
        return as_screen(outcome, code=code)

    def json(self, path: Path | str) -> Any:
        return json.loads(Path(path).read_text(encoding="utf-8"))

    def table(self, path: Path | str) -> list[dict[str, str]]:
        with Path(path).open(encoding="utf-8", newline="") as handle:
            return list(csv.DictReader(handle))

    def rows(self, run: Path | str) -> list[dict[str, Any]]:
        """The rows of a run's metrics.jsonl."""
        text = (Path(run) / "metrics.jsonl").read_text(encoding="utf-8")
        return [json.loads(line) for line in text.splitlines()]


@pytest.fixture
def cli() -> CommandLine:
    return CommandLine()


@pytest.fixture(scope="session")
def _pictures(write_some_digits: Callable[[Sequence[str], int], Path]) -> Path:
    return write_some_digits(CLASSES, PER_CLASS)


@pytest.fixture
def pictures(_pictures: Path, tmp_path: Path) -> Path:
    """A folder with 40 pictures of each of three digits, to be spoiled at will."""
    return Path(shutil.copytree(_pictures, tmp_path / "pictures"))


def train(*settings: object, code: int = 0) -> tuple[Outcome, dict[str, Any]]:
    """Train a tiny model in the working directory; the outcome, and run.json of the newest run."""
    outcome = run_here("train", "classify/digits", *TINY, *settings)
    assert outcome.code == code, outcome.said
    return outcome, newest()


def newest(exp_dir: Path | str = "experiments/train") -> dict[str, Any]:
    """run.json of the newest run, with its path; empty when there is none."""
    from sightline.runs import list_runs

    runs = list_runs(Path(exp_dir).absolute())
    return runs[0] if runs else {}


def trained_below(base: Path, pictures: Path, cache: Path, *settings: str) -> Path:
    """Train a classifier with pictures, and return the folder that was worked in."""
    command = ("train", "classify/digits", *TINY, "data.root=pictures", "project.name=tiny")
    return worked_below(base, pictures, cache, *command, "--test", *settings)


def worked_below(base: Path, pictures: Path, cache: Path, *command: str) -> Path:
    """Give a command in a folder with a copy of pictures, and return the folder."""
    shutil.copytree(pictures, base / "pictures")
    before, saved = Path.cwd(), os.environ.get("XDG_CACHE_HOME")
    os.environ["XDG_CACHE_HOME"] = str(cache)
    os.chdir(base)
    try:
        outcome = run_here(*command)
        assert outcome.code == 0, outcome.said
    finally:
        os.chdir(before)
        os.environ.pop("XDG_CACHE_HOME")
        os.environ.update({} if saved is None else {"XDG_CACHE_HOME": saved})
    return base


def entered_copy(source: Path, base: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The newest run in a copy of the folder that was worked in, which is entered."""
    shutil.copytree(source, base, symlinks=True)
    monkeypatch.chdir(base)
    run = Path(newest()["path"])
    for name in ("config.yaml", "run.json"):
        text = (run / name).read_text(encoding="utf-8")
        (run / name).write_text(text.replace(str(source), str(base)), encoding="utf-8")
    return run


@pytest.fixture(scope="session")
def _trained(_pictures: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained_below(tmp_path_factory.mktemp("trained"), _pictures, cache)


@pytest.fixture
def trained(_trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a finished run, below a copy of its working directory, which is entered."""
    return entered_copy(_trained, tmp_path / "work", monkeypatch)


@pytest.fixture(scope="session")
def _searched(_pictures: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    command = ("train", *SEARCHING, "data.root=pictures", "project.name=tiny", "--test")
    return worked_below(tmp_path_factory.mktemp("searched"), _pictures, cache, *command)


@pytest.fixture
def searched(_searched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """As `trained`, but of a retrieval run."""
    return entered_copy(_searched, tmp_path / "work", monkeypatch)


@pytest.fixture(scope="session")
def _all_folds(_pictures: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folds = ("data.folds=3", "data.valid_fold=all")
    return trained_below(tmp_path_factory.mktemp("folds"), _pictures, cache, *folds)


@pytest.fixture
def folds_run(_all_folds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """As `trained`, but of a run of three folds."""
    return entered_copy(_all_folds, tmp_path / "work", monkeypatch)


def as_screen(outcome: Outcome, *, code: int) -> str:
    """The error's text, after checking that it is one screen without a traceback."""
    assert outcome.code == code, outcome.said
    assert "Traceback" not in outcome.said
    assert len(outcome.screen) <= MOST_LINES, outcome.err
    assert outcome.screen[0].lower().startswith("error: ")
    # A path is never broken, so that it can be copied; it may be as long as it is.
    assert max(len(line) for line in outcome.screen if "/" not in line) <= WIDEST, outcome.err
    return "\n".join(outcome.screen)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    chromium_path = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium_path is None:
        pytest.skip("Chromium is not installed (Debian: apt-get install chromium)")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=chromium_path, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def opened(browser: Any) -> Callable[..., Visit]:
    """Opens a page: `opened(FILE, width=1200, dark=False)`."""
    return functools.partial(Visit, browser)


class Visit:
    """An opened page, every complaint of the browser and every address it asked for."""

    def __init__(self, browser: Any, file: Path, *, width: int = 1200, dark: bool = False) -> None:
        scheme = "dark" if dark else "light"
        self.page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(file.as_uri())

    def fetched(self) -> list[str]:
        return [url for url in self.requests if not url.startswith(("file:", "data:"))]

    def coloured_pixels(self) -> list[int]:
        """How many pixels of each chart belong to a curve: grid, axes and marks are nearly grey."""
        counts: list[int] = self.page.evaluate(
            """() => [...document.querySelectorAll(".plot canvas")].map((canvas) => {
                const pen = canvas.getContext("2d");
                const {data} = pen.getImageData(0, 0, canvas.width, canvas.height);
                let found = 0;
                for (let i = 0; i < data.length; i += 4) {
                    const [r, g, b, a] = data.slice(i, i + 4);
                    found += a > 200 && Math.max(r, g, b) - Math.min(r, g, b) > 60;
                }
                return found;
            })"""
        )
        return counts
