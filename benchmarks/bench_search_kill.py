"""A search of 20 trials whose processes are killed -9 at random three times: what is left of it."""

from __future__ import annotations

import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from interleave import WORK
from record import RESULTS, Row, save
from sightline.data.digits import write_digits

SIGHTLINE = Path(sys.executable).with_name("sightline")
TRIALS = 20
WORKERS = 2
SEED = 3
FOLDER = WORK / "search-kill"
KILLS = ("worker", "worker", "command")
"""Whom each kill hits; the command's takes all its workers with it, so it is called again."""
CLASSES = ("0_zero", "1_one", "7_seven")
SPACE = f"""task: search
study: {{name: killed, n_trials: {TRIALS}, random_trials: 6}}
pruning: {{startup_trials: 4, warmup_epochs: 1}}
overrides: {{train.epochs: 3}}
space:
  train.lr: {{low: 1.0e-4, high: 3.0e-2, log: true}}
  train.batch_size: {{choices: [8, 16, 32]}}
  train.weight_decay: {{low: 0.0, high: 0.1}}
"""


def main() -> None:
    """Search, kill, go on, and save what came of it."""
    random.seed(SEED)
    prepare()
    started, kills = time.perf_counter(), []
    command, log = begin()
    for target in KILLS:
        time.sleep(random.uniform(8, 20))
        if command.poll() is not None:
            sys.exit(f"the search ended with {command.returncode} before the last kill")
        pid = command.pid if target == "command" else random.choice(children(command.pid))
        below = descendants(pid)
        os.kill(pid, signal.SIGKILL)
        kills.append({"target": target, "at_s": round(time.perf_counter() - started, 1)})
        if target == "command":
            command.wait()
        kills[-1]["others_gone_after_s"] = gone(below)
        if target == "command":
            command, log = begin()
    command.wait()
    if command.returncode:
        sys.exit(f"the search ended with {command.returncode}:\n{log.read_text()[-2000:]}")
    report(kills, time.perf_counter() - started)


def prepare() -> None:
    """An empty folder with 40 pictures of each of three digits, and the search file."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    every = write_digits(FOLDER / "every")
    for name in CLASSES:
        (FOLDER / "pictures" / name).mkdir(parents=True)
        for file in sorted((every / name).iterdir())[:40]:
            shutil.copy2(file, FOLDER / "pictures" / name)
    (FOLDER / "space.yaml").write_text(SPACE, encoding="utf-8")


def begin() -> tuple[subprocess.Popen[bytes], Path]:
    """Start the command, or go on with the study that a killed one left."""
    settings = ["model.name=test_resnet", "train.warmup_epochs=0", "data.root=pictures"]
    options = ["--space", "space.yaml", "--workers", str(WORKERS)]
    log = FOLDER / "output.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            [SIGHTLINE, "tune", "classify/digits", *settings, *options],
            cwd=FOLDER,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    return process, log


def children(pid: int) -> list[int]:
    """The processes that a process started."""
    text = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(one) for one in text.read_text().split()] if text.exists() else []


def descendants(pid: int) -> list[int]:
    """All processes below a process."""
    return [one for child in children(pid) for one in (child, *descendants(child))]


def gone(pids: list[int]) -> float | None:
    """Seconds until none of the processes is alive; None when that takes over a minute."""
    started = time.perf_counter()
    while time.perf_counter() - started < 60:
        if not any(is_alive(pid) for pid in pids):
            return round(time.perf_counter() - started, 2)
        time.sleep(0.05)
    return None


def is_alive(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def report(kills: list[dict[str, Any]], seconds: float) -> None:
    """Check the study, print its summary, and save it."""
    import optuna

    folder = FOLDER / "experiments" / "tune" / "killed"
    summary = json.loads((folder / "search.json").read_text(encoding="utf-8"))
    with (folder / "trials.csv").open(encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.load_study(study_name="killed", storage=summary["storage"])
    states = Counter(trial.state.name for trial in study.trials)
    errors = Counter(row["error"] for row in rows if row["error"])
    invented = [row["number"] for row in rows if row["value"] and row["state"] != "finished"]
    lines = [
        f"{len(rows)} rows of {TRIALS} trials: "
        + ", ".join(f"{summary[state]} {state}" for state in ("finished", "pruned", "failed")),
        f"states in the database: {dict(states)}",
        f"errors: {dict(errors)}",
        f"kills: {kills}",
        "best {metric} {best[value]:.4f}, trial {best[number]}".format_map(summary),
        f"{seconds:.0f} s",
    ]
    print("\n".join(lines))
    ended = sum(summary[state] for state in ("finished", "pruned", "failed"))
    lost = TRIALS - ended + summary.get("running", 0) + summary.get("waiting", 0)
    orphans = sum(kill["others_gone_after_s"] is None for kill in kills)
    save(
        "search_kill",
        [
            Row("trials ended as finished, pruned or failed", ended, "trials", TRIALS, "at least"),
            Row("rows more than asked for", len(study.trials) - TRIALS, "trials", 0),
            Row("trials lost, running or waiting", lost, "trials", 0),
            Row("trials with a score though not finished", len(invented), "trials", 0),
            Row("trials failed through 3 kills", summary["failed"], "trials", 2 + WORKERS),
            Row("kills that left a process behind", orphans, "kills", 0),
            Row("the whole search", seconds, "s"),
        ],
        {"kills": kills, "best": summary["best"]["params"], "errors": dict(errors), "log": lines},
    )
    table = ["# A search with three kills", "", *(f"- {line}" for line in lines), ""]
    table += ["| trial | state | value | error |", "|---|---|---|---|"]
    table += [f"| {r['number']} | {r['state']} | {r['value'][:6]} | {r['error']} |" for r in rows]
    (RESULTS / "search_kill.md").write_text("\n".join(table) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
