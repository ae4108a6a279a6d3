"""Training in a process of its own that is killed at random moments, and told to stop by signals.

The thorough version: pytest -m slow -s tests/training/test_kill.py
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest
import torch

PROGRAM = textwrap.dedent(
    """
    import sys, time
    from pathlib import Path

    import torch
    from torch import nn
    from torch.utils.data import DataLoader, TensorDataset

    from sightline import BaseTrainer, TrainerConfig
    from sightline.errors import SightlineError

    folder, slow_validation = Path(sys.argv[1]), "slow" in sys.argv


    class Toy(BaseTrainer):
        is_ready = False

        def training_step(self, batch, batch_idx):
            return {"loss": self.loss_fn(self.model(batch[0]), batch[1])}

        def validation_step(self, batch, batch_idx):
            if slow_validation:
                Path(folder, "validating").touch()
                time.sleep(0.1)
            return {"loss": self.loss_fn(self.model(batch[0]), batch[1])}

        def configure_optimizers(self):
            return torch.optim.SGD(self.model.parameters(), lr=1e-6, momentum=0.9)

        def on_train_batch_end(self, batch, idx, outputs, loss):
            if not Path(folder, "stepped").exists():
                Path(folder, "stepped").touch()
            if not self.is_ready:
                self.is_ready = True
                print("ready", flush=True)


    torch.manual_seed(0)
    # Wide enough that writing a checkpoint takes longer than a step: kills hit the writing too.
    model = nn.Sequential(nn.Linear(8, 20_000), nn.Dropout(), nn.Linear(20_000, 1))
    data = TensorDataset(torch.randn(40, 8), torch.randn(40, 1))
    config = TrainerConfig(save_every_steps=1, save_interval=1, ema_decay=0.9)
    trainer = Toy(model, nn.MSELoss(), "cpu", folder / "ckpt", config=config)
    latest = folder / "ckpt" / "latest_model.pth"
    try:
        if latest.exists():
            trainer.load_checkpoint(latest)
        loader = DataLoader(data, batch_size=8, shuffle=True)
        trainer.fit(loader, [data[:20]] * (50 if slow_validation else 1), int(sys.argv[2]))
    except SightlineError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
    torch.save(
        {
            "model": model.state_dict(),
            "average": trainer.average.state_dict(),
            "optimizer": trainer.optimization.optimizers[0].state_dict(),
            "steps": trainer.progress.step,
        },
        folder / "final.pt",
    )
    """
)


def start(folder: Path, epochs: int, *extra: str) -> subprocess.Popen[str]:
    """The program, training in the folder; its output begins when it is about to train."""
    folder.mkdir(exist_ok=True)
    program = folder / "train.py"
    program.write_text(PROGRAM)
    command = [sys.executable, "-W", "error", str(program), str(folder), str(epochs), *extra]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def finish(process: subprocess.Popen[str], *, code: int = 0) -> str:
    """What the program said on standard error; it must end with the exit code."""
    _, errors = process.communicate(timeout=120)
    assert process.returncode == code, errors[-2000:]
    return errors


def final(folder: Path) -> dict[str, Any]:
    return dict(torch.load(folder / "final.pt"))


def differing_values(left: Any, right: Any) -> int:
    """How many numbers differ in any bit between two nested states."""
    if isinstance(left, torch.Tensor):
        return int((left.view(torch.int32) != right.view(torch.int32)).sum()) if left.ndim else 0
    if isinstance(left, dict):
        assert list(left) == list(right)
        return sum(differing_values(left[key], right[key]) for key in left)
    if isinstance(left, list):
        return sum(differing_values(*pair) for pair in zip(left, right, strict=True))
    return int(left != right)


def train_under_fire(folder: Path, *, epochs: int, kills: int, seed: int) -> dict[str, int]:
    """Kill the program at random moments, resuming each time, then let it finish; what happened."""
    moments = random.Random(seed)
    counts = {"kills": 0, "while writing": 0, "finished early": 0}
    while counts["kills"] < kills:
        process = start(folder, epochs)
        assert process.stdout is not None
        # The line comes after the first step; a run that ends in between says nothing.
        if process.stdout.readline():
            time.sleep(moments.uniform(0.0, 0.15))
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)
        if process.returncode == 0:
            counts["finished early"] += 1
            break
        counts["kills"] += 1
        counts["while writing"] += bool(list((folder / "ckpt").glob(".*.partial")))
    finish(start(folder, epochs))
    assert not list((folder / "ckpt").glob(".*"))
    return counts


def test_a_run_killed_again_and_again_ends_in_the_same_bits(tmp_path: Path) -> None:
    finish(start(tmp_path / "undisturbed", 3))
    counts = train_under_fire(tmp_path / "killed", epochs=3, kills=5, seed=time.time_ns() % 1000)
    assert counts["kills"] > 0
    assert differing_values(final(tmp_path / "undisturbed"), final(tmp_path / "killed")) == 0


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_fifty_kills_leave_no_trace(tmp_path: Path) -> None:
    epochs = 150
    finish(start(tmp_path / "undisturbed", epochs))
    counts = train_under_fire(tmp_path / "killed", epochs=epochs, kills=50, seed=1)
    expected, got = final(tmp_path / "undisturbed"), final(tmp_path / "killed")
    numbers = sum(one.numel() for one in expected["model"].values())
    differing = differing_values(expected, got)
    print(
        f"\nkills {counts['kills']} ({counts['while writing']} while a checkpoint was written), "
        f"survived {counts['kills']}, steps {got['steps']}, "
        f"differing values {differing} of {numbers} weights and what belongs to them"
    )
    assert counts["kills"] >= 40
    assert counts["while writing"] > 0
    assert expected["steps"] == got["steps"] == 5 * epochs
    assert differing == 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
@pytest.mark.parametrize("moment", ["stepped", "validating"])
def test_signal_saves_and_ends_with_its_exit_code(
    tmp_path: Path, number: signal.Signals, code: int, moment: str
) -> None:
    folder = tmp_path / "run"
    extra = ("slow",) if moment == "validating" else ()
    process = start(folder, 400, *extra)
    wait_for(folder / moment, process)
    process.send_signal(number)
    began = time.monotonic()
    errors = finish(process, code=code)
    # Fifty batches of validation would take five seconds.
    assert time.monotonic() - began < 4
    assert f"Stopped by {number.name} in epoch" in errors
    assert "--resume" in errors
    saved = torch.load(folder / "ckpt/latest_model.pth", weights_only=True)
    assert saved["step"] >= 1
    if moment == "validating":
        assert saved["progress"]["batch"] == 5


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert process.poll() is None, process.communicate()[1][-2000:]
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_digits_killed_from_the_command_line_end_in_the_same_bits(tmp_path: Path) -> None:
    """`sightline train classify/digits`, killed several times and resumed with --resume."""
    settings = [
        "train.epochs=2",
        "train.device=cpu",
        "output.save_every_steps=1",
        f"data.digits={tmp_path / 'digits'}",
    ]
    program = [sys.executable, "-c", "from sightline.cli import main; main()", "train"]
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")}

    def train(name: str, *arguments: str) -> subprocess.Popen[str]:
        places = [
            f"output.exp_dir={tmp_path / name}",
            f"output.logs_dir={tmp_path / name / 'logs'}",
        ]
        return subprocess.Popen(
            [*program, *arguments, *places],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    finish(train("undisturbed", "classify/digits", *settings))
    moments = random.Random(3)
    process = train("killed", "classify/digits", *settings)
    kills = 0
    while kills < 6:
        began, before = time.monotonic(), latest_step(tmp_path / "killed")
        while process.poll() is None and latest_step(tmp_path / "killed") <= before:
            assert time.monotonic() - began < 120
            time.sleep(0.02)
        time.sleep(moments.uniform(0, 0.6))
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        if process.returncode == 0:
            break
        kills += 1
        process = train("killed", "--resume", "latest")
    finish(process)
    ends = [latest(tmp_path / name) for name in ("undisturbed", "killed")]
    states = [torch.load(path, weights_only=True) for path in ends]
    differing = differing_values(states[0]["model"], states[1]["model"])
    print(f"\nkills {kills}, differing values {differing}, step {states[1]['step']}")
    assert kills >= 3
    assert states[0]["step"] == states[1]["step"]
    assert differing == 0
    assert differing_values(states[0]["optimizers"], states[1]["optimizers"]) == 0


def latest(folder: Path) -> Path:
    found = list(folder.glob("*/*/ckpt/latest_model.pth"))
    return found[0] if found else folder / "none"


def latest_step(folder: Path) -> int:
    path = latest(folder)
    return int(torch.load(path, weights_only=True)["step"]) if path.exists() else 0
