"""Writes what a benchmark found: one JSON file each, and one table of all with the machine."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import subprocess
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parent / "results"
PACKAGES = ("sightline", "torch", "torchvision", "timm", "numpy", "pillow")


@dataclass(frozen=True)
class Row:
    """One line of the table: what was measured, its value, and the goal it is held to."""

    what: str
    value: float
    unit: str
    goal: float | None = None
    goal_is: str = "at most"
    """`at most` or `at least`."""
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the value reaches the goal, None without one."""
        if self.goal is None:
            return None
        return self.value <= self.goal if self.goal_is == "at most" else self.value >= self.goal


def save(name: str, rows: list[Row], details: dict[str, Any]) -> Path:
    """Write results/<name>.json and renew the table; the path of the former."""
    RESULTS.mkdir(exist_ok=True)
    content = {
        "name": name,
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": machine(),
        "versions": versions(),
        "rows": [{**asdict(row), "met": row.met} for row in rows],
        "details": details,
    }
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    write_table()
    return path


def write_table() -> Path:
    """Write results/README.md from every JSON file there is."""
    files = [
        json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob("*.json"))
    ]
    lines = [
        "# Benchmark results",
        "",
        "Written by `make bench`; [the README](../README.md) says how each is measured.",
        "",
        "| benchmark | what | value | goal | reached |",
        "|---|---|---|---|---|",
    ]
    for file in files:
        for row in file["rows"]:
            goal = "" if row["goal"] is None else f"{row['goal_is']} {row['goal']:g} {row['unit']}"
            met = {True: "yes", False: "**no**", None: ""}[row["met"]]
            note = f" ({row['note']})" if row["note"] else ""
            value = f"{row['value']:.3g}" if abs(row["value"]) < 1000 else f"{row['value']:.0f}"
            lines.append(
                f"| {file['name']} | {row['what']}{note} | {value} {row['unit']} | {goal} | {met} |"
            )
    lines += ["", "| benchmark | date | machine | versions |", "|---|---|---|---|"]
    for file in files:
        found = file["machine"]
        computer = f"{found['cpu']}, {found['cores']} cores, {found['memory_GiB']} GiB"
        packages = ", ".join(f"{package} {number}" for package, number in file["versions"].items())
        lines.append(f"| {file['name']} | {file['date']} | {computer} | {packages} |")
    path = RESULTS / "README.md"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def machine() -> dict[str, Any]:
    """Processor, cores this process may use, memory and system; no name, no path."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "cpu": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_GiB": round(memory),
        "system": f"{platform.system()} {platform.machine()}",
    }


def versions(python: Path | None = None, packages: tuple[str, ...] = PACKAGES) -> dict[str, str]:
    """Versions of Python and the packages that matter, here or in another environment."""
    if python is not None:
        code = (
            "import importlib.metadata as m, json, platform, sys\n"
            "print(json.dumps({'python': platform.python_version(),"
            " **{p: m.version(p) for p in sys.argv[1:]}}))"
        )
        output = subprocess.run([python, "-c", code, *packages], capture_output=True, check=True)
        return dict(json.loads(output.stdout))
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
