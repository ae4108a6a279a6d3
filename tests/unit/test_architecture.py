"""Guards over the whole package: shape of files, layers at import time, effects of an import."""

from __future__ import annotations

import ast
import importlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "sightline"
SOURCES = sorted(PACKAGE.rglob("*.py"))

LINES = 250
LONGER_FOR_A_REASON: dict[str, str] = {
    "training/trainer.py": "the training loop is one class that is read from top to bottom",
}
"""File below src/sightline -> why it may pass 250 lines."""

FORBIDDEN_NAMES = {"utils", "util", "misc", "common", "helpers", "helper", "base"}
HEAVY = ("torch", "torchvision", "timm", "numpy", "pydantic", "scipy", "sklearn", "matplotlib")


def name_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def label_of(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def importable() -> list[str]:
    return [name_of(path) for path in SOURCES if path.stem != "__main__"]


def python(code: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *arguments],
        capture_output=True,
        text=True,
        timeout=240,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def loaded_by(*modules: str) -> set[str]:
    code = (
        "import importlib, json, sys\n"
        "for name in sys.argv[1:]: importlib.import_module(name)\n"
        "print(json.dumps(list(sys.modules)))"
    )
    return set(json.loads(python(code, *modules)))


def test_there_is_something_to_guard() -> None:
    assert PACKAGE.is_dir()
    assert len(SOURCES) > 5


@pytest.mark.parametrize("path", SOURCES, ids=label_of)
def test_module_says_what_it_is_and_postpones_annotations(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree), f"{label_of(path)} needs a docstring: one line on what it does"
    has_code = len(tree.body) > 1
    postponed = any(
        isinstance(node, ast.ImportFrom)
        and node.module == "__future__"
        and any(alias.name == "annotations" for alias in node.names)
        for node in tree.body
    )
    assert postponed or not has_code, (
        f"{label_of(path)} needs `from __future__ import annotations` below its docstring"
    )


@pytest.mark.parametrize("path", SOURCES, ids=label_of)
def test_name_says_what_is_inside(path: Path) -> None:
    parts = {*path.relative_to(PACKAGE).parent.parts, path.stem}
    assert not parts & FORBIDDEN_NAMES, f"{label_of(path)}: name a module after what it does"


@pytest.mark.parametrize("path", SOURCES, ids=label_of)
def test_file_reads_in_one_sitting(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    if label_of(path) in LONGER_FOR_A_REASON:
        assert lines > LINES, f"{label_of(path)} is short again: take it off the list"
    else:
        assert lines <= LINES, (
            f"{label_of(path)} has {lines} lines, more than {LINES}: split it by what it does, "
            "or add it to LONGER_FOR_A_REASON with the reason"
        )


def test_list_of_long_files_is_current() -> None:
    assert set(LONGER_FOR_A_REASON) <= {label_of(path) for path in SOURCES}
    assert all(reason.strip() for reason in LONGER_FOR_A_REASON.values())


@pytest.mark.parametrize("module", ["sightline", "sightline.cli"])
def test_light_modules_import_nothing_heavy(module: str) -> None:
    if module not in importable():
        pytest.skip(f"{module} does not exist yet")
    loaded = loaded_by(module)
    assert module in loaded
    heavy = sorted(loaded & set(HEAVY))
    assert not heavy, f"import {module} loads {heavy}: import inside the function"


def test_runs_import_without_torch_numpy_and_pydantic() -> None:
    names = [name for name in importable() if name.startswith("sightline.runs")]
    assert not loaded_by(*names) & set(HEAVY)


LIBRARIES = """
# Libraries we use may set things up when they load; load them before the first look.
import importlib
for library in "timm matplotlib sklearn scipy pydantic rich click jinja2 PIL.Image".split():
    importlib.import_module(library)
"""
EFFECTS = """
import hashlib, importlib, json, logging, os, pickle, random, signal, sys, threading, warnings
import numpy, torch  # their own effects come first and are not ours

def state():
    return {
        "signal handlers": [str(signal.getsignal(number)) for number in signal.valid_signals()],
        "random": hashlib.sha256(repr(random.getstate()).encode()).hexdigest(),
        "numpy.random": hashlib.sha256(pickle.dumps(numpy.random.get_state())).hexdigest(),
        "torch random": hashlib.sha256(torch.get_rng_state().numpy().tobytes()).hexdigest(),
        "root logger": [logging.getLogger().level, [str(h) for h in logging.getLogger().handlers]],
        "working directory": os.getcwd(),
        "files": sorted(os.listdir()),
        "environment": {k: v for k, v in os.environ.items() if not k.startswith("KMP_")},
        "threads": [thread.name for thread in threading.enumerate()],
        "torch threads": torch.get_num_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "cudnn benchmark": torch.backends.cudnn.benchmark,
        "default dtype": str(torch.get_default_dtype()),
        "excepthook": sys.excepthook is sys.__excepthook__,
        "streams": [sys.stdout is sys.__stdout__, sys.stderr is sys.__stderr__],
    }

changed = {}
for name in sys.argv[1:]:
    before = state()
    importlib.import_module(name)
    after = state()
    effects = [key for key in before if before[key] != after[key]]
    if effects:
        changed[name] = effects
print(json.dumps(changed))
"""


def test_importing_any_module_has_no_effect() -> None:
    output = python(LIBRARIES + EFFECTS, *importable())
    changed = json.loads(output)
    assert changed == {}, f"work at import time: {changed}"


def test_effects_are_seen_when_there_are_any(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "loud.py").write_text(
        "import random, logging\nrandom.random()\nlogging.basicConfig()\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert json.loads(python(EFFECTS, "loud")) == {"loud": ["random", "root logger"]}


def test_public_names_resolve() -> None:
    package = importlib.import_module("sightline")
    names = getattr(package, "__all__", [])
    assert len(set(names)) == len(names), "a name is listed twice in sightline.__all__"
    missing = [name for name in names if not hasattr(package, name)]
    assert missing == []


@pytest.mark.parametrize("path", SOURCES, ids=label_of)
def test_declared_names_exist(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    declares = any(
        isinstance(node, ast.Assign)
        and any(isinstance(target, ast.Name) and target.id == "__all__" for target in node.targets)
        for node in tree.body
    )
    if not declares:
        return
    module = importlib.import_module(name_of(path))
    assert [name for name in module.__all__ if not hasattr(module, name)] == []


MACHINE = re.compile(
    r"(?<![\w.])/(?:root|farm|work)/|/home/[a-z]|/Users/[A-Za-z]|/opt/pypi"
    r"|pypi\.org/simple|files\.pythonhosted|download\.pytorch|index-url|artifactory",
)


def project_files() -> list[Path]:
    folders = ("src", "tests", "docs", "benchmarks", ".ci")
    found = [path for path in ROOT.iterdir() if path.is_file() and path.name != "uv.lock"]
    for folder in folders:
        found += [path for path in (ROOT / folder).rglob("*") if path.is_file()]
    skipped = {"__pycache__", "work"}
    return sorted(
        path
        for path in found
        if path != Path(__file__).resolve() and not skipped & set(path.relative_to(ROOT).parts)
    )


def test_no_file_names_a_machine_or_a_registry() -> None:
    hits = []
    for path in project_files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), 1):
            if match := MACHINE.search(line):
                hits.append(f"{path.relative_to(ROOT)}:{number}: {match.group()}")
    assert hits == []


def test_constraints_are_exact_and_hold_no_address() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert len(pins) > 50
    exact = re.compile(r"[a-z0-9][a-z0-9-]*==[\w.+!]+( ;.*)?")
    assert [pin for pin in pins if not exact.fullmatch(pin)] == []
