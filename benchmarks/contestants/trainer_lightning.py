"""Microseconds per step of Lightning's Trainer with its CSV logger and progress bar."""

from __future__ import annotations

import logging
import sys
import tempfile
import warnings
from typing import Any

import lightning
import torch
from lightning.pytorch.loggers import CSVLogger
from tiny_problem import ReadyBatches, tiny_model
from torch import nn


class TinyModule(lightning.LightningModule):
    """The same model, loss and optimizer as the other contestants'."""

    last_loss: Any = 0.0

    def __init__(self) -> None:
        super().__init__()
        self.model, self.loss_fn = tiny_model(), nn.MSELoss()

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        """Mean squared error of the batch, logged and shown."""
        inputs, targets = batch
        loss = self.loss_fn(self.model(inputs), targets)
        self.log("train_loss", loss, prog_bar=True)
        self.last_loss = loss.detach()
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Plain SGD."""
        return torch.optim.SGD(self.parameters(), lr=0.01)


def main(steps: int) -> None:
    """Train and report."""
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    batches, module = ReadyBatches(steps), TinyModule()
    with tempfile.TemporaryDirectory() as folder:
        trainer = lightning.Trainer(
            accelerator="cpu", max_epochs=1, default_root_dir=folder, logger=CSVLogger(folder)
        )
        trainer.fit(module, batches)
    batches.report(float(module.last_loss))


if __name__ == "__main__":
    main(int(sys.argv[1]))
