"""Two gloo processes on a CPU train like one process with the same global batch."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest
import torch

PROGRAM = """
    import os
    import sys
    import time
    from pathlib import Path

    import torch
    from torch import nn

    from sightline import BaseTrainer, Callback, Stop, TrainerConfig
    from sightline.errors import SightlineError
    from sightline.training.runtime import process, process_group

    SAMPLES, BATCH, EPOCHS = 45, 8, 3
    inputs = torch.randn(SAMPLES, 6, generator=torch.Generator().manual_seed(1))
    targets = inputs.square().sum(dim=1, keepdim=True)


    class Shares:
        \"\"\"Every process takes its part of each global batch; the last one is ragged.\"\"\"

        def __init__(self, words):
            self.uneven = "uneven" in words and process().rank == 1

        def __len__(self):
            return -(-SAMPLES // BATCH)

        def batches(self, epoch, start=0):
            order = torch.randperm(SAMPLES, generator=torch.Generator().manual_seed(epoch))
            parts = order.split(BATCH)[start:]
            for batch in parts[:-1] if self.uneven else parts:
                mine = batch[process().rank :: process().count]
                yield inputs[mine], targets[mine]

        def __iter__(self):
            return self.batches(1)


    class Trainer(BaseTrainer):
        slow = False

        def training_step(self, batch, batch_idx):
            if self.slow:
                (self.checkpoint_dir.parent / f"training{process().rank}").touch()
                time.sleep(0.1)
            return {"loss": self.loss_fn(self.model(batch[0]), batch[1])}

        def validation_step(self, batch, batch_idx):
            return {"errors": (self.model(batch[0]) - batch[1]).abs().flatten()}

        def compute_metrics(self, outputs):
            errors = torch.cat([one["errors"] for one in outputs])
            return {"loss": float(errors.mean()), "rows": float(len(errors))}

        def configure_optimizers(self):
            return torch.optim.Adam(self.model.parameters(), lr=0.01)


    class Watch(Callback):
        \"\"\"Asks to stop in one process, and notes what was saved.\"\"\"

        def __init__(self, folder, words):
            self.folder, self.words = folder, words if process().rank == 1 else ()

        def on_step(self, info):
            return Stop("enough") if "stop" in self.words and info.step == 4 else None

        def on_epoch_end(self, row):
            return Stop("enough") if "stop_at_epoch_end" in self.words else None

        def on_checkpoint(self, path, metrics):
            with open(self.folder / "saves.txt", "a") as file:
                print(process().rank, path.name, file=file)


    def train(folder, words):
        folder.mkdir(exist_ok=True)
        # Each process begins with other weights; those of the first must count.
        torch.manual_seed(process().rank)
        dropout = nn.Dropout(0.5) if "dropout" in words else nn.Identity()
        model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), dropout, nn.Linear(16, 1))
        accumulate = 2 if "accumulate" in words else 1
        config = TrainerConfig(accumulate_steps=accumulate, grad_clip_norm=5.0, ema_decay=0.9)
        trainer = Trainer(
            model, nn.MSELoss(), "cpu", folder / "ckpt",
            config=config, callbacks=[Watch(folder, words)],
        )
        trainer.slow = "slow" in words
        if (folder / "ckpt/latest_model.pth").exists():
            trainer.load_checkpoint(folder / "ckpt/latest_model.pth")
        try:
            history = trainer.fit(Shares(words), Shares(()), EPOCHS)
        except SightlineError as error:
            (folder / f"error{process().rank}").write_text(f"{error.exit_code} {error}")
            sys.exit(error.exit_code)
        result = {
            "weights": model.state_dict(),
            "train_loss": [row["train_loss"] for row in history],
            "valid_loss": [row["valid_loss"] for row in history],
            "rows": history[-1]["rows"],
            "steps": trainer.progress.step,
            "reason": trainer.stop_reason,
        }
        torch.save(result, folder / f"result{process().rank}.pt")


    with process_group(torch.device("cpu")):
        for case in sys.argv[2:]:
            name, *words = case.split(":")
            train(Path(sys.argv[1]) / name, words)
    # Threads of torch's now and then abort the usual way out, after all that is tested is done.
    os._exit(0)
"""


def start(folder: Path, processes: int, *cases: str) -> subprocess.Popen[str]:
    """The program in so many processes; a case is name:word:word, and name its folder."""
    folder.mkdir(exist_ok=True)
    program = folder / "train.py"
    program.write_text(textwrap.dedent(PROGRAM))
    launcher = [sys.executable]
    if processes > 1:
        launcher += ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    command = [*launcher, str(program), str(folder), *cases]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def run(folder: Path, processes: int, *cases: str) -> dict[str, list[dict[str, Any]]]:
    """The results of all processes, for each case."""
    program = start(folder, processes, *cases)
    _, errors = program.communicate(timeout=120)
    assert program.returncode == 0, errors[-4000:]
    names = [case.split(":")[0] for case in cases]
    return {
        name: [torch.load(folder / name / f"result{rank}.pt") for rank in range(processes)]
        for name in names
    }


def test_two_processes_end_with_the_weights_of_one_and_stop_together(tmp_path: Path) -> None:
    cases = ("plain", "ragged:accumulate")
    stops = {"stopped:stop": 4, "ended:stop_at_epoch_end": 6}
    alone = run(tmp_path / "one", 1, *cases)
    both = run(tmp_path / "two", 2, *cases, *stops)
    for case in alone:
        (expected,), (first, second) = alone[case], both[case]
        for name, tensor in expected["weights"].items():
            torch.testing.assert_close(first["weights"][name], tensor, rtol=0, atol=1e-6)
            assert torch.equal(first["weights"][name], second["weights"][name])
        assert first["steps"] == second["steps"] == expected["steps"]
        assert first["rows"] == second["rows"] == 45
        assert first["train_loss"] == pytest.approx(expected["train_loss"], rel=1e-5)
        assert first["valid_loss"] == pytest.approx(expected["valid_loss"], rel=1e-5)
        written = {path.name for path in (tmp_path / "two" / case / "ckpt").iterdir()}
        assert written == {"best_model.pth", "latest_model.pth", "epoch_003.pth"}
    for case, steps in stops.items():
        name = case.split(":")[0]
        first, second = both[name]
        assert first["steps"] == second["steps"] == steps
        assert first["reason"] == "another process asked to stop"
        assert second["reason"] == "enough"
        assert (tmp_path / "two" / name / "ckpt/epoch_001.pth").exists()


def test_sigterm_to_all_saves_once_and_a_resume_ends_in_the_same_bits(tmp_path: Path) -> None:
    """Each process goes on with its own random numbers."""
    folder = tmp_path / "two"
    program = start(folder, 2, "broken:dropout:slow")
    deadline = time.monotonic() + 60
    while not (folder / "broken/training1").exists():
        assert program.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(0.3)
    program.send_signal(signal.SIGTERM)
    program.communicate(timeout=60)
    for rank in range(2):
        error = (folder / f"broken/error{rank}").read_text()
        assert error.startswith("143 Stopped by SIGTERM")
    assert (folder / "broken/saves.txt").read_text() == "0 latest_model.pth\n"
    results = run(folder, 2, "broken:dropout", "undisturbed:dropout")
    for expected, got in zip(results["undisturbed"], results["broken"], strict=True):
        for name, tensor in expected["weights"].items():
            assert torch.equal(tensor, got["weights"][name])
        assert expected["train_loss"] == got["train_loss"]


def test_loaders_of_different_length_are_an_error_and_no_deadlock(tmp_path: Path) -> None:
    program = start(tmp_path, 2, "case:uneven")
    program.communicate(timeout=60)
    assert program.returncode != 0
    text = (tmp_path / "case/error0").read_text()
    assert "different numbers of batches" in text
    assert "same length" in text
