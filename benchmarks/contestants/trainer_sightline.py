"""Microseconds per step of BaseTrainer with a metrics file and a progress bar."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from tiny_problem import ReadyBatches, tiny_model
from torch import nn

from sightline.runs.files import append_line
from sightline.training.callbacks import MetricsFile, ProgressBar
from sightline.training.trainer import BaseTrainer


class TinyTrainer(BaseTrainer):
    """What a model's author writes."""

    last_loss = 0.0

    def training_step(self, batch: Any, batch_idx: int) -> dict[str, Any]:
        """Mean squared error of the batch."""
        inputs, targets = batch
        return {"loss": self.loss_fn(self.model(inputs), targets)}

    def configure_optimizers(self) -> Any:
        """Plain SGD."""
        return torch.optim.SGD(self.model.parameters(), lr=0.01)

    def on_train_batch_end(self, batch: Any, idx: int, outputs: Any, loss: Any) -> None:
        """Keep the loss, to compare it with the other contestants'."""
        self.last_loss = loss


def main(steps: int) -> None:
    """Train and report."""
    torch.set_num_threads(1)
    batches = ReadyBatches(steps)
    with tempfile.TemporaryDirectory() as folder:
        metrics = Path(folder) / "metrics.jsonl"
        callbacks = [
            MetricsFile(lambda row: append_line(metrics, json.dumps(row))),
            ProgressBar(sys.stderr),
        ]
        trainer = TinyTrainer(
            tiny_model(), nn.MSELoss(), "cpu", Path(folder) / "ckpt", callbacks=callbacks
        )
        trainer.fit(batches, None, 1)
        assert metrics.stat().st_size > 0
    batches.report(float(trainer.last_loss))


if __name__ == "__main__":
    main(int(sys.argv[1]))
