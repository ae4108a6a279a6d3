"""`sightline sweep`: sweep files of W&B, with real trials, and with faults of every kind."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

HEAD = "name: a sweep!\nmetric: {name: val/macro_f1, goal: maximize}\n"
GRID = HEAD + (
    "method: grid\n"
    "parameters:\n"
    "  train.lr: {values: [1.0e-2, 1.0e-3]}\n"
    "  train: {parameters: {batch_size: {value: 20}}}\n"
)
BY_WANDB = "method: random\nmetric: {name: val/macro_f1, goal: maximize}\nparameters:\n"
LIMIT_GIB = 6
TRIALS = 30


def written(text: str) -> str:
    Path("sweep.yaml").write_text(text, encoding="utf-8")
    return "--sweep-config=sweep.yaml"


def sweep(cli: Any, pictures: Path, *arguments: object) -> Any:
    return cli("sweep", "classify/digits", *cli.tiny, f"data.root={pictures}", *arguments)


def folder() -> Path:
    """The only sweep's folder."""
    (found,) = Path("experiments/sweep").iterdir()
    return found


def test_sweep_file_is_run_here_and_goes_on(pictures: Path, cli: Any) -> None:
    done = sweep(cli, pictures, written(GRID), "--count=1")
    assert done.code == 0, done.said
    assert "note: the grid has 2 combinations, and the first 1 are trained" in done.out
    assert folder().name.startswith("a-sweep-")
    (row,) = cli.table(folder() / "trials.csv")
    assert (row["state"], row["train.lr"]) == ("finished", "0.01")
    run = folder() / row["run"]
    assert float(row["value"]) == max(one["macro_f1"] for one in cli.rows(run))
    # What all trials share is in the run, and in the best configuration too.
    best = cli.json(folder() / "search.json")["best"]["config"]
    for file in (run / "config.yaml", Path(best)):
        assert "  batch_size: 20\n" in file.read_text(encoding="utf-8")
    again = sweep(cli, pictures, written(GRID), "--count=1", "--json")
    assert again.code == 0, again.said
    assert json.loads(again.out)["n_trials"] == 1
    assert len(list(folder().glob("runs/*/trial-*"))) == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (GRID + "early_terminte: {}\n", ["There is no key early_terminte", "early_terminate?"]),
        (GRID + "count: 3\n", ["count is no key of a sweep file", "run_cap"]),
        (GRID.replace("train.lr", "train.lrr"), ["train.lrr: unknown key", "train.lr?",
                                                 "sweep.yaml: parameters.train.lrr"]),
        (GRID.replace("1.0e-3]", "fast]"), ["train.lr: expected a number > 0", "fast"]),
        (GRID.replace("1.0e-3]", "-1.0]"), ["train.lr: expected a number > 0"]),
        (GRID.replace("value: 20", "value: many"), ["train.batch_size: expected", "many",
                                                    "sweep.yaml: parameters"]),
        (GRID.replace("train.lr", "SOLVER.BASE_LR"), ["old configuration", "train.lr"]),
        (GRID.replace("val/macro_f1", "val/mAP"), ["train.monitor", "macro_f1"]),
        (GRID.replace("train.lr: {values: [1.0e-2, 1.0e-3]}", "project.seed: {values: [1, 2]}"),
         ["project.seed cannot be searched", "sweep.yaml: parameters.project.seed"]),
    ],
)  # fmt: skip
def test_bad_sweep_file_is_explained_and_nothing_starts(
    text: str, words: list[str], pictures: Path, cli: Any
) -> None:
    screen = cli.screen(sweep(cli, pictures, written(text)), code=2)
    for word in words:
        assert word in screen, screen
    assert not Path("experiments").exists()


def test_what_is_trained_may_stand_in_the_file(pictures: Path, cli: Any) -> None:
    bad = GRID.replace("1.0e-3]", "-1.0]")
    settings = [*cli.tiny, f"data.root={pictures}"]
    named = cli("sweep", written(f"program: classify/digits\n{bad}"), *settings)
    assert "expected a number > 0" in cli.screen(named, code=2)
    screen = cli.screen(cli("sweep", written(f"program: train.py\n{bad}"), *settings), code=2)
    assert "Nothing says what the trials train" in screen
    assert "program: train.py" in screen
    Path("conf.yaml").write_text("recipe: classify/digits\n")
    file = cli("sweep", written(f"program: conf.yaml\n{bad}"), *settings)
    assert "expected a number > 0" in cli.screen(file, code=2)


@pytest.mark.slow
def test_bad_trial_is_pruned_at_a_bracket(pictures: Path, cli: Any) -> None:
    text = GRID.replace("1.0e-3]", "1.0e-7]") + "early_terminate: {type: hyperband, min_iter: 3}\n"
    done = sweep(cli, pictures, written(text), "train.epochs=9")
    assert done.code == 0, done.said
    good, bad = cli.table(folder() / "trials.csv")
    assert (good["state"], good["epochs"]) == ("finished", "9")
    assert (bad["state"], bad["value"], bad["error"]) == ("pruned", "", "")
    assert bad["epochs"] == "3"
    assert len(cli.rows(folder() / bad["run"])) >= 3


@pytest.mark.slow
def test_target_ends_the_sweep(pictures: Path, cli: Any) -> None:
    text = GRID.replace("maximize}", "maximize, target: 0.01}")
    done = sweep(cli, pictures, written(text))
    assert done.code == 0, done.said
    assert "the target is reached; 1 trials did not begin" in done.out
    assert len(cli.table(folder() / "trials.csv")) == 1


# --- faults ---


def below(pid: int) -> list[int]:
    """Every process below one."""
    children: list[int] = []
    for file in Path(f"/proc/{pid}/task").glob("*/children"):  # each thread has its own
        with contextlib.suppress(OSError):
            children += map(int, file.read_text().split())
    return [found for child in children for found in (child, *below(child))]


def runs_module(pid: int, module: str) -> bool:
    with contextlib.suppress(OSError):
        return module in Path(f"/proc/{pid}/cmdline").read_text()
    return False


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def cpu_seconds(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Saboteur:
    """Dooms one trial in three: somewhere in it, it, its worker or the whole command is killed.

    Where, is told by the processor's time, so that a busy machine makes no difference.
    """

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.kills: Counter[str] = Counter()
        self.seen: set[int] = set()
        self.fates: dict[int, tuple[str, float]] = {}

    def watch(self, process: subprocess.Popen[str], *, may_kill_all: bool) -> bool:
        """Until the command has ended; whether it was killed from here."""
        while process.poll() is None:
            family = below(process.pid)
            self.seen |= {process.pid, *family}
            for pid in (one for one in family if runs_module(one, "tuning.trial_process")):
                what, after = self.fates.setdefault(pid, self._fate(may_kill_all))
                if cpu_seconds(pid) > after and is_alive(pid):
                    self.fates[pid] = ("", float("inf"))
                    self.kills[what] += 1
                    if what == "command":
                        process.kill()
                        return True
                    self._kill(pid if what == "trial" else parent_of(pid))
            time.sleep(0.1)
        return False

    def _fate(self, may_kill_all: bool) -> tuple[str, float]:
        what = self.random.choice(["trial", "worker", "command"] if may_kill_all else
                                  ["trial", "worker"])  # fmt: skip
        is_doomed = self.random.random() < 1 / 3
        return what, self.random.uniform(0.5, 6) if is_doomed else float("inf")

    def _kill(self, pid: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_thirty_trials_with_faults_lose_none_and_leave_no_orphan(pictures: Path, cli: Any) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("CUDA takes more address space than the test may give")
    text = HEAD + (
        "method: random\n"
        "parameters:\n"
        "  train.lr: {distribution: log_uniform_values, min: 1.0e-4, max: 1.0e-2}\n"
        "  train.img_size: {values: [32, 512], probabilities: [0.8, 0.2]}\n"
        "  train.batch_size: {value: 64}\n"
    )
    # So much address space that a batch of 64 can be trained at 32 pixels, and not at 512.
    command = [
        "prlimit", f"--as={LIMIT_GIB * 2**30}", sys.executable, "-m", "sightline", "sweep",
        written(text), f"--count={TRIALS}", "--workers=2", "classify/digits", *cli.tiny,
        f"data.root={pictures}", "data.augment.preset=none",
    ]  # fmt: skip
    saboteur, calls = Saboteur(7), 0
    while True:
        calls += 1
        with Path("said.log").open("a", encoding="utf-8") as said:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, text=True
            )
        if not saboteur.watch(process, may_kill_all=calls <= 3):
            break
        process.wait()
    assert process.returncode == 0, Path("said.log").read_text()[-3000:]
    rows = cli.table(folder() / "trials.csv")
    assert sorted(int(row["number"]) for row in rows) == list(range(TRIALS))
    states = Counter(row["state"] for row in rows)
    reasons = Counter(row["error"][:40].splitlines()[0] for row in rows if row["error"])
    print(f"{calls} calls, kills {dict(saboteur.kills)}, {dict(states)}, {dict(reasons)}")
    assert set(states) <= {"finished", "failed"}
    assert all(row["error"] if row["state"] == "failed" else row["value"] for row in rows)
    ran_out = [row for row in rows if row["error"].startswith("out of memory: ")]
    assert ran_out
    assert {row["train.img_size"] for row in ran_out} == {"512"}
    assert min(saboteur.kills[what] for what in ("trial", "worker", "command")) >= 1
    found = cli.json(folder() / "search.json")
    assert "running" not in found
    assert "waiting" not in found
    deadline = time.monotonic() + 90
    while orphans := [pid for pid in saboteur.seen if is_alive(pid)]:
        assert time.monotonic() < deadline, orphans
        time.sleep(0.2)


# --- steered by W&B ---


@pytest.fixture
def no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("NETRC", str(Path("netrc").absolute()))


def to_wandb(cli: Any, pictures: Path, *arguments: object) -> Any:
    text = f"{BY_WANDB}  train.lr: {{min: 0.001, max: 0.01}}\n"
    return sweep(cli, pictures, written(text), "--to=wandb", "--count=2", *arguments)


@pytest.mark.usefixtures("no_key")
def test_without_key_or_server_the_local_form_is_named(
    pictures: Path, cli: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = "the same command without --to wandb"
    screen = cli.screen(to_wandb(cli, pictures), code=1)
    assert "no key for https://api.wandb.ai" in screen
    assert local in screen
    Path(".env").write_text("WANDB_API_KEY=0123456789abcdef\nWANDB_BASE_URL=http://127.0.0.1:9\n")
    screen = cli.screen(to_wandb(cli, pictures), code=1)
    assert "a server that answers" in screen
    assert "http://127.0.0.1:9" in screen
    assert local in screen
    assert "0123456789abcdef" not in screen
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert "WANDB_MODE=offline" in cli.screen(to_wandb(cli, pictures), code=1)
    assert not Path("experiments").exists()


def test_without_the_package_the_extra_is_named(
    pictures: Path, cli: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "wandb" else find(name)
    )
    assert "sightline[wandb]" in cli.screen(to_wandb(cli, pictures), code=1)


@pytest.mark.parametrize("option", ["--workers=2", "--timeout=9", "--storage=s.db"])
def test_options_that_wandb_does_not_read_are_refused(
    option: str, pictures: Path, cli: Any
) -> None:
    done = to_wandb(cli, pictures, option)
    assert done.code == 2
    assert f"{option.partition('=')[0]} is not read with --to wandb" in done.err


class Server:
    """Stands in for W&B's server: it takes a sweep and gives out two trials, the second a bad one.

    The file and the variables of each trial are those that W&B's agent (0.31) leaves.
    """

    def __init__(self) -> None:
        self.taken: dict[str, Any] = {}
        self.trials: list[Mapping[str, Any]] = [{"train.lr": 0.002}, {"train": {"lr": -1.0}}]

    def sweep(self, definition: dict[str, Any], *, entity: Any, project: Any) -> str:
        self.taken = {"definition": definition, "entity": entity, "project": project}
        return "abc123"

    def agent(self, name: str, *, function: Any, count: int, **options: Any) -> None:
        from wandb.sdk.lib import config_util

        self.taken["agent"] = {"name": name, "count": count, **options}
        for number, values in enumerate(self.trials):
            file = Path(os.environ["WANDB_DIR"]) / "wandb" / f"config-{number}.yaml"
            file.parent.mkdir(parents=True, exist_ok=True)
            sent = {key: {"value": value} for key, value in values.items()}
            config_util.save_config_file_from_dict(str(file), sent)
            os.environ |= {"WANDB_SWEEP_PARAM_PATH": str(file), "WANDB_RUN_ID": f"run{number}"}
            function()


@pytest.fixture
def server(no_key: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    import wandb

    from sightline.tuning import wandb_agent

    made = Server()
    before = dict(os.environ)
    monkeypatch.setattr(wandb, "sweep", made.sweep)
    monkeypatch.setattr(wandb, "agent", made.agent)
    monkeypatch.setattr(wandb_agent, "answers", lambda url: True)
    os.environ["WANDB_API_KEY"] = "0" * 40
    yield made
    os.environ.clear()
    os.environ.update(before)


@pytest.mark.slow
def test_trials_of_wandb_are_processes_of_their_own(
    server: Server, pictures: Path, cli: Any
) -> None:
    done = to_wandb(cli, pictures, "tracking.mode=disabled", "tracking.project=p")
    assert done.code == 0, done.said
    assert "1 trials finished, 1 failed" in done.out
    assert "trial failed: The configuration has 1 problem" in done.out
    sent = server.taken["definition"]
    assert sent["metric"] == {"name": "val/macro_f1", "goal": "maximize"}
    assert sent["parameters"] == {"train.lr": {"min": 0.001, "max": 0.01}}
    assert server.taken["project"] == "p"
    assert server.taken["agent"]["count"] == 2
    (run,) = folder().glob("runs/*/trial-run0_*")
    text = (run / "config.yaml").read_text(encoding="utf-8")
    assert "  lr: 0.002\n" in text
    assert "wandb" in text.partition("tracking:")[2].splitlines()[1]
    assert cli.json(run / "run.json")["status"] == "finished"


@pytest.mark.slow
def test_trial_that_wandb_stops_ends_with_its_process(
    server: Server, pictures: Path, cli: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import wandb
    from wandb.agents.pyagent import _terminate_thread

    server.trials, gone = [{"train.lr": 0.002}], []

    def stopped(name: str, *, function: Any, count: int, **options: Any) -> None:
        server.agent(name, function=lambda: stop_in_a_thread(function), count=count, **options)

    def stop_in_a_thread(function: Any) -> None:
        def run() -> None:
            with contextlib.suppress(Exception):  # as the agent's own thread does
                function()

        thread = threading.Thread(target=run)
        thread.start()
        while not list(folder().glob("runs/*/trial-*/run.json")):
            time.sleep(0.1)
        trials = [pid for pid in below(os.getpid()) if runs_module(pid, "tuning.trial_process")]
        _terminate_thread(thread)
        thread.join()
        gone.extend(not is_alive(pid) for pid in trials)

    monkeypatch.setattr(wandb, "agent", stopped)
    done = to_wandb(cli, pictures, "train.epochs=900", "tracking.mode=disabled")
    assert "No trial of the sweep finished" in cli.screen(done, code=1)
    assert gone == [True]
