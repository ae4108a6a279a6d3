"""Trackers beside a training: what they get, and that nothing that befalls them harms the run."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch

KEY = "0123456789abcdef0123456789abcdef01234567"
TIMES = ("time", "time_s", "images_per_s", "mem_MiB", "gpu_mem_MiB")
PATIENT = "tracking.finish_timeout=200"


class WandbServer:
    """As much of a W&B server as a run needs: it keeps what it is sent, or fails on purpose."""

    def __init__(self) -> None:
        self.history: list[dict[str, Any]] = []
        self.summary: dict[str, Any] = {}
        self.config: dict[str, Any] = {}
        self.exit_code: int | None = None
        self.status = 200
        self.streams_until_silence = -1
        self.silent = threading.Event()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._http.daemon_threads = True
        # A process that is killed hangs up; that is the point, and no news.
        self._http.handle_error = lambda request, address: None  # type: ignore[method-assign]
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.silent.clear()
        self._http.shutdown()
        self._http.server_close()

    @property
    def steps(self) -> list[int]:
        """The steps of the points of train/loss, in the order they came."""
        return [row["step"] for row in self.history if "train/loss" in row]

    def stream(self, sent: dict[str, Any]) -> None:
        for name, part in sent.get("files", {}).items():
            if name.endswith("history.jsonl"):
                del self.history[part["offset"] :]
                self.history += [json.loads(line) for line in part["content"]]
            elif name.endswith("summary.json"):
                self.summary = json.loads(part["content"][-1])
        if sent.get("complete"):
            self.exit_code = sent["exitcode"]
        self.streams_until_silence -= 1
        if self.streams_until_silence == 0:
            self.silent.set()

    def answer(self, operation: str | None, variables: dict[str, Any]) -> dict[str, Any] | None:
        entity = {"id": "entity", "name": "me"}
        project = {"id": "project", "name": "reid", "entity": entity}
        if operation == "Viewer":
            return {"viewer": {"id": "me", "entity": "me", "username": "me", "email": "me@here",
                               "flags": "{}", "teams": {"edges": []}}}  # fmt: skip
        if operation == "RunResumeStatus":
            return {"model": {**project, "bucket": self._bucket(variables["name"])}}
        if operation == "UpsertBucket":
            self.config |= json.loads(variables["config"] or "{}")
            bucket = {"id": "run", "name": variables["name"], "displayName": "shown",
                      "description": None, "config": variables["config"], "sweepName": None,
                      "project": project, "historyLineCount": len(self.history)}  # fmt: skip
            return {"upsertBucket": {"bucket": bucket, "inserted": not self.history}}
        if operation == "CreateRunFiles":
            files = [{"name": name, "uploadUrl": f"{self.url}/put"} for name in variables["files"]]
            return {"createRunFiles": {"runID": "run", "uploadHeaders": [], "files": files}}
        return None

    def _bucket(self, name: str) -> dict[str, Any] | None:
        if not self.history:
            return None
        return {"id": "run", "name": name, "displayName": "shown", "config": "{}", "tags": [],
                "summaryMetrics": json.dumps(self.summary), "notes": None, "logLineCount": 0,
                "historyLineCount": len(self.history), "eventsLineCount": 0,
                "historyTail": json.dumps([json.dumps(self.history[-1])]), "eventsTail": "[]",
                "wandbConfig": json.dumps({"t": 1})}  # fmt: skip

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                pass

            def do_GET(self) -> None:
                self._reply(200, {})

            def do_PUT(self) -> None:
                self._body()
                self._reply(200, {})

            def do_POST(self) -> None:
                sent = json.loads(self._body())
                while server.silent.is_set():
                    time.sleep(0.1)
                if server.status != 200:
                    self._reply(server.status, {"errors": [{"message": "not you"}]})
                elif self.path != "/graphql":
                    server.stream(sent)
                    self._reply(200, {})
                else:
                    found = server.answer(sent.get("operationName"), sent.get("variables") or {})
                    errors = {"errors": [{"message": "unknown"}]}
                    self._reply(*((400, errors) if found is None else (200, {"data": found})))

            def _body(self) -> bytes:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                packed = self.headers.get("Content-Encoding") == "gzip"
                return gzip.decompress(body) if packed else body

            def _reply(self, status: int, content: Any) -> None:
                body = json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        return Handler


@pytest.fixture
def wandb_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[WandbServer]:
    server = WandbServer()
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.setenv("WANDB_BASE_URL", server.url)
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    yield server
    server.close()


def holds(folder: Path, secret: str) -> list[Path]:
    """The files below a folder with the secret in them."""
    files = [file for file in folder.rglob("*") if file.is_file()]
    return [file for file in files if secret.encode() in file.read_bytes()]


def evidence(run: str | Path, cli: Any) -> tuple[list[dict[str, Any]], dict[str, torch.Tensor]]:
    """What a training is for: its rows without times, and its weights."""
    rows = [{k: v for k, v in row.items() if k not in TIMES} for row in cli.rows(run)]
    weights = {}
    for name in ("best_model", "latest_model"):
        state = torch.load(Path(run) / "ckpt" / f"{name}.pth", weights_only=True)
        weights |= {f"{name}.{key}": value for key, value in state["model"].items()}
    return rows, weights


def same(first: Any, second: Any) -> bool:
    (rows, weights), (other_rows, other_weights) = first, second
    return bool(
        rows == other_rows
        and weights.keys() == other_weights.keys()
        and all(torch.equal(weights[name], other_weights[name]) for name in weights)
    )


@pytest.fixture
def descendants(monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """A function that lists what was started since, as far as it is alive, and whoever by."""
    mark = f"{os.getpid()}-{time.monotonic_ns()}"
    monkeypatch.setenv("STARTED_BY_TEST", mark)

    def living() -> list[str]:
        found = []
        for file in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):
                if mark.encode() in file.read_bytes():
                    found.append((file.parent / "cmdline").read_text().replace("\0", " "))
        return found

    return living


def wait_until_gone(living: Callable[[], list[str]], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while left := living():
        assert time.monotonic() < deadline, left
        time.sleep(0.2)


def test_finished_run_is_sent_once(trained: Path, cli: Any) -> None:
    done = cli("track", "latest", "--to", "tensorboard", "images=3")
    assert done.code == 0, done.said
    assert f"tensorboard: events in {trained / 'tensorboard'}" in done.out
    assert "tensorboard: 3 rows sent, run finished" in done.out
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(trained / "tensorboard"))
    found.Reload()
    tags = found.Tags()
    names = {"epoch", "train/loss", "val/macro_f1", "lr", "speed/images_per_s", "test/macro_f1"}
    assert names <= set(tags["scalars"])
    shown = [f"{split}/samples/{place}" for split in ("test", "val") for place in (1, 2, 3)]
    assert sorted(tags["images"]) == shown
    assert {"test/scores/text_summary", "test/per_class/text_summary"} <= set(tags["tensors"])
    again = cli("track", trained, "--to", "tensorboard")
    assert "tensorboard: 0 rows sent" in again.out


def test_bad_calls_are_explained(trained: Path, cli: Any) -> None:
    assert "--to wandb" in cli.screen(cli("track"), code=2)
    assert "'neptune' is not one of" in cli("track", "--to", "neptune").err
    assert "did you mean tracking.project" in cli.screen(
        cli("track", "--to", "wandb", "projekt=x"), code=2
    )


def test_package_that_is_missing_is_named_with_its_extra(
    trained: Path, cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # defect 5
    hide(tmp_path, monkeypatch, "wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    done = cli("track", "--to", "wandb")
    assert "pip install 'sightline[wandb]'" in done.out
    assert "not sent to wandb" in cli.screen(done, code=1)
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert "wandb: nothing is sent: WANDB_MODE=disabled" in cli("track", "--to", "wandb").out


@pytest.mark.slow
def test_training_imports_no_tracker(pictures: Path, tmp_path: Path, cli: Any) -> None:
    """Trackers that are named are started, and none gets into the process that trains."""
    script = (
        "import sys; from sightline.cli import main\n"
        "try: main()\n"
        "finally: print('loaded', {'wandb', 'mlflow', 'tensorboard'} & set(sys.modules))"
    )
    command = ("train", "classify/digits", *cli.tiny, f"data.root={pictures}")
    done = subprocess.run(
        [sys.executable, "-c", script, *command, "tracking.to=wandb", "tracking.images=0"],
        capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=280, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "loaded set()" in done.stdout
    assert "[TRACK] wandb: nothing is sent: WANDB_MODE=disabled" in done.stderr


def hide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str, text: str = "") -> None:
    """Have every process that is started from here on find another package of this name."""
    (tmp_path / "instead").mkdir(exist_ok=True)
    hidden = text or f"raise ImportError('{package} is hidden')\n"
    (tmp_path / "instead" / f"{package}.py").write_text(hidden)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "instead"), prepend=os.pathsep)


@pytest.mark.slow
def test_training_is_followed_online(
    pictures: Path, cli: Any, wandb_server: WandbServer
) -> None:  # REID-14 ... REID-18; defects 1, 4, 6
    settings = ("tracking.to=wandb", "tracking.project=reid", "tracking.artifact=false", PATIENT)
    done, info = cli.train(f"data.root={pictures}", *settings, "train.epochs=3", "--test")
    assert "[TRACK] wandb: online at" in done.err
    assert wandb_server.steps == [6, 12, 18]
    point = next(row for row in wandb_server.history if "train/loss" in row)
    assert {"epoch", "val/macro_f1", "val/loss", "lr", "speed/images_per_s"} <= set(point)
    assert wandb_server.summary["status"] == "finished"
    assert {"test/macro_f1", "best/macro_f1"} <= set(wandb_server.summary)
    assert wandb_server.config["train"]["value"]["epochs"] == 3
    assert wandb_server.exit_code == 0
    assert not holds(Path(info["path"]), KEY)
    assert not holds(Path("logs"), KEY)
    assert KEY not in done.said
    # Trained longer: the same run goes on, and nothing comes twice.
    more = ("train.epochs=4", "--resume-anyway", "train.epochs")
    done = cli("train", "--resume", info["id"], *more)
    assert done.code == 0, done.said
    assert wandb_server.steps == [6, 12, 18, 24]
    assert "wandb: 0 rows sent" in cli("track", info["id"], "--to", "wandb").out


@pytest.mark.slow
def test_offline_run_is_uploaded_later(pictures: Path, cli: Any, wandb_server: WandbServer) -> None:
    Path(".env").write_text(f"WANDB_API_KEY={KEY}\nWANDB_MODE=offline\nWANDB_TAGS=a\n")
    os.environ.pop("WANDB_API_KEY")
    settings = ("tracking.to=wandb", "tracking.artifact=false", PATIENT)
    done, info = cli.train(f"data.root={pictures}", *settings, "train.epochs=2")
    (line,) = (line for line in done.err.splitlines() if "wandb sync" in line)
    assert "WANDB_MODE=offline" in line
    assert wandb_server.history == []
    folder = line.split("`")[1].removeprefix("wandb sync ")
    assert not holds(Path(info["path"]), KEY)
    synced = subprocess.run(
        [Path(sys.executable).with_name("wandb"), "sync", folder],
        env={**os.environ, "WANDB_API_KEY": KEY}, capture_output=True, text=True, check=False,
        timeout=240,
    )  # fmt: skip
    assert wandb_server.steps == [6, 12], synced.stdout + synced.stderr
    assert wandb_server.exit_code == 0


@pytest.mark.slow
def test_mlflow_keeps_a_run_beside_the_others(pictures: Path, cli: Any) -> None:
    settings = ("tracking.to=mlflow", "tracking.tags=[first]", PATIENT)
    _, info = cli.train(f"data.root={pictures}", *settings, "train.epochs=2", "--test")
    saved = cli.json(Path(info["path"]) / "tracking/mlflow.json")
    script = (
        "import sys, json; from mlflow import MlflowClient\n"
        "c = MlflowClient(tracking_uri=sys.argv[1]); r = c.get_run(sys.argv[2])\n"
        "steps = [m.step for m in c.get_metric_history(sys.argv[2], 'train/loss')]\n"
        "files = [f.path for f in c.list_artifacts(sys.argv[2], 'model')]\n"
        "print(json.dumps([r.info.status, r.data.tags, r.data.params, steps, files]))"
    )
    uri = f"sqlite:///{Path('experiments/train/mlflow.db').absolute()}"
    read = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script, uri, saved["id"]],
        capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip
    assert read.returncode == 0, read.stderr
    status, tags, params, steps, files = json.loads(read.stdout.splitlines()[-1])
    assert (status, steps) == ("FINISHED", [6, 12])
    assert (tags["first"], tags["sightline.run"]) == ("true", info["id"])
    assert params["train.epochs"] == "2"
    assert files == ["model/best_model.pth", "model/model.json"]


FAULTY = """
import os, signal
class Error(Exception): ...
class Settings(dict):
    def __init__(self, **kwargs): ...
class Run:
    id, entity, project, url, resumed, summary = "x", "e", "p", None, False, {}
    settings = type("S", (), {"sync_dir": "nowhere"})
    def define_metric(self, *args, **kwargs): ...
    def log(self, values):
        BODY
    def finish(self, **kwargs): ...
def init(**kwargs): return Run()
"""
FAULTS = {
    "package missing": "is not installed",
    "key missing": "offline, without WANDB_API_KEY",
    "key refused": "offline, the server did not open the run",
    "server that never answers": "does not answer",
    "network cut in the middle": "sends what is missing",
    "tracker raises": "stopped: RuntimeError: no more",
    "tracker hangs": "did not finish in 3 s",
    "follower killed": "ended with code -9",
}


@pytest.fixture(scope="module")
def untracked(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return {"base": tmp_path_factory.mktemp("untracked")}


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_fault_of_a_tracker_changes_neither_weights_nor_rows(
    fault: str,
    pictures: Path,
    cli: Any,
    wandb_server: WandbServer,
    untracked: dict[str, Any],
    descendants: Callable[[], list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = (f"data.root={pictures}", "train.epochs=8", "project.seed=3")
    if "evidence" not in untracked:
        cli.train(*settings, "output.exp_dir=plain")
        untracked["evidence"] = evidence(cli.newest("plain")["path"], cli)
    timeout = "tracking.finish_timeout=3"
    if fault == "package missing":
        hide(tmp_path, monkeypatch, "wandb")
    elif fault == "key missing":
        monkeypatch.delenv("WANDB_API_KEY")
        monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
        timeout = PATIENT
    elif fault == "key refused":
        wandb_server.status = 401
        timeout = PATIENT
    elif fault == "server that never answers":
        mute = socket.create_server(("127.0.0.1", 0))
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{mute.getsockname()[1]}")
        timeout = PATIENT
    elif fault == "network cut in the middle":
        wandb_server.streams_until_silence = 1
        timeout = "tracking.finish_timeout=20"
    elif fault in ("tracker raises", "tracker hangs", "follower killed"):
        body = {
            "tracker raises": "raise RuntimeError('no more')",
            "tracker hangs": "__import__('time').sleep(1000)",
            "follower killed": "os.kill(os.getpid(), signal.SIGKILL)",
        }[fault]
        hide(tmp_path, monkeypatch, "wandb", FAULTY.replace("BODY", body))
    settings = (*settings, "tracking.to=wandb", "tracking.artifact=false", timeout)
    began = time.monotonic()
    done, info = cli.train(*settings)
    seconds = time.monotonic() - began
    assert same(evidence(info["path"], cli), untracked["evidence"])
    assert info["status"] == "finished"
    said = [line for line in done.err.splitlines() if line.startswith("[TRACK]")]
    assert FAULTS[fault] in said[-1], said
    assert len(said) <= 2
    assert KEY not in done.said
    assert not holds(Path(info["path"]), KEY)
    wait_until_gone(descendants, 30)
    print(f"{fault}: {seconds:.1f} s; {said[-1]}")


@pytest.mark.slow
def test_killed_training_is_a_crash_at_the_tracker_and_leaves_nothing_behind(
    pictures: Path, cli: Any, wandb_server: WandbServer, descendants: Callable[[], list[str]]
) -> None:
    command = ("train", "classify/digits", *cli.tiny, f"data.root={pictures}", "train.epochs=4000")
    process = subprocess.Popen(
        [sys.executable, "-m", "sightline", *command, "tracking.to=wandb", PATIENT],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    for line in process.stderr:
        if "wandb: online" in line:
            break
    assert len(descendants()) > 2  # the training, its follower, and W&B's own process
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    wait_until_gone(descendants, 120)
    assert wandb_server.exit_code == 137
    assert wandb_server.summary["status"] == "crashed"
    # What is missing comes with the resumed training, into the same run.
    assert cli.newest()["status"] == "running"
    before = len(wandb_server.steps)
    epochs = cli.rows(cli.newest()["path"])[-1]["epoch"] + 2
    more = (f"train.epochs={epochs}", "--resume-anyway", "train.epochs")
    done = cli("train", "--resume", *more, "tracking.artifact=false")
    assert done.code == 0, done.said
    steps = wandb_server.steps
    assert len(steps) == epochs > before
    assert steps == sorted(set(steps))
    assert wandb_server.exit_code == 0


@pytest.mark.slow
def test_trials_of_a_search_are_tracked_only_where_it_says_so(pictures: Path, cli: Any) -> None:
    space = (
        "task: search\nstudy: {{name: {0}, n_trials: 1}}\npruning: {{method: none}}\n"
        "overrides: {{{1}}}\nspace: {{train.lr: {{low: 1.0e-3, high: 3.0e-3, log: true}}}}\n"
    )
    for name, overrides, times in (("plain", "", 0), ("asked", "tracking.to: [wandb]", 1)):
        Path("space.yaml").write_text(space.format(name, overrides))
        data = (f"data.root={pictures}", "tracking.to=wandb")
        done = cli("tune", "classify/digits", *cli.tiny, *data, "--space=space.yaml")
        assert done.code == 0, done.said
        logs = Path(f"experiments/tune/{name}/logs").glob("*.log")
        said = "".join(log.read_text() for log in logs)
        assert said.count("wandb: nothing is sent") == times, said
