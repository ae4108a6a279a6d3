"""Two gloo processes on a CPU train like one process with the same global batch."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch

PROGRAM = """
    import sys
    from pathlib import Path

    import torch
    from torch import nn

    from sightline import BaseTrainer, Callback, Stop, TrainerConfig
    from sightline.training.runtime import process, process_group

    SAMPLES, BATCH, EPOCHS = 45, 8, 3
    inputs = torch.randn(SAMPLES, 6, generator=torch.Generator().manual_seed(1))
    targets = inputs.square().sum(dim=1, keepdim=True)


    class Shares:
        \"\"\"Every process takes its part of each global batch; the last one is ragged.\"\"\"

        def __len__(self):
            return -(-SAMPLES // BATCH)

        def batches(self, epoch, start=0):
            order = torch.randperm(SAMPLES, generator=torch.Generator().manual_seed(epoch))
            for batch in order.split(BATCH)[start:]:
                mine = batch[process().rank :: process().count]
                yield inputs[mine], targets[mine]

        def __iter__(self):
            return self.batches(1)


    class Trainer(BaseTrainer):
        def training_step(self, batch, batch_idx):
            return {"loss": self.loss_fn(self.model(batch[0]), batch[1])}

        def validation_step(self, batch, batch_idx):
            return {"errors": (self.model(batch[0]) - batch[1]).abs().flatten()}

        def compute_metrics(self, outputs):
            errors = torch.cat([one["errors"] for one in outputs])
            return {"loss": float(errors.mean()), "rows": float(len(errors))}

        def configure_optimizers(self):
            return torch.optim.Adam(self.model.parameters(), lr=0.01)


    class StopInOne(Callback):
        def on_step(self, info):
            return Stop("enough") if process().rank == 1 and info.step == 4 else None


    with process_group(torch.device("cpu")):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 1))
        config = TrainerConfig(accumulate_steps=int(sys.argv[2]), grad_clip_norm=5.0, ema_decay=0.9)
        callbacks = [StopInOne()] if "stop" in sys.argv else []
        folder = Path(sys.argv[1]) / "ckpt"
        trainer = Trainer(model, nn.MSELoss(), "cpu", folder, config=config, callbacks=callbacks)
        history = trainer.fit(Shares(), Shares(), EPOCHS)
        result = {
            "weights": model.state_dict(),
            "train_loss": [row["train_loss"] for row in history],
            "valid_loss": [row["valid_loss"] for row in history],
            "rows": history[-1]["rows"],
            "steps": trainer.progress.step,
            "reason": trainer.stop_reason,
        }
        torch.save(result, Path(sys.argv[1]) / f"result{process().rank}.pt")
"""


def run(folder: Path, processes: int, *arguments: str) -> list[dict]:
    """The results of all processes."""
    folder.mkdir()
    program = folder / "train.py"
    program.write_text(textwrap.dedent(PROGRAM))
    launcher = [sys.executable]
    if processes > 1:
        launcher += ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    command = [*launcher, str(program), str(folder), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    return [torch.load(folder / f"result{rank}.pt") for rank in range(processes)]


@pytest.mark.parametrize("accumulate", ["1", "2"])
def test_two_processes_end_with_the_weights_of_one(tmp_path: Path, accumulate: str) -> None:
    (alone,) = run(tmp_path / "one", 1, accumulate)
    first, second = run(tmp_path / "two", 2, accumulate)
    for name, tensor in alone["weights"].items():
        torch.testing.assert_close(first["weights"][name], tensor, rtol=0, atol=1e-6)
        assert torch.equal(first["weights"][name], second["weights"][name])
    assert first["steps"] == second["steps"] == alone["steps"]
    assert first["rows"] == second["rows"] == 45
    assert first["train_loss"] == pytest.approx(alone["train_loss"], rel=1e-5)
    assert first["valid_loss"] == pytest.approx(alone["valid_loss"], rel=1e-5)
    written = {path.name for path in (tmp_path / "two" / "ckpt").iterdir()}
    assert written == {"best_model.pth", "latest_model.pth", "epoch_003.pth"}


def test_a_request_to_stop_in_one_process_stops_both(tmp_path: Path) -> None:
    first, second = run(tmp_path / "two", 2, "1", "stop")
    assert first["steps"] == second["steps"] == 5
    assert first["reason"] == "another process asked to stop"
    assert second["reason"] == "enough"
