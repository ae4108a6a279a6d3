"""Microseconds per step of a loop that does nothing but the step."""

from __future__ import annotations

import sys

import torch
from tiny_problem import ReadyBatches, tiny_model
from torch import nn


def main(steps: int) -> None:
    """Train and report."""
    torch.set_num_threads(1)
    model, loss_fn = tiny_model(), nn.MSELoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    batches = ReadyBatches(steps)
    value = 0.0
    model.train()
    for inputs, targets in batches:
        optimizer.zero_grad()
        loss = loss_fn(model(inputs), targets)
        loss.backward()
        optimizer.step()
        value = loss.item()
    batches.report(value)


if __name__ == "__main__":
    main(int(sys.argv[1]))
