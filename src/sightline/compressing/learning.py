"""Encoders that a search trains, each a run of its own below that of the search."""

from __future__ import annotations

import os
from contextlib import ExitStack, redirect_stderr, redirect_stdout

from torch import nn

from sightline.compressing.candidates import QuantizerName
from sightline.compressing.searching import TrainLearned
from sightline.experiment import train
from sightline.runs import RunFolder
from sightline.tasks.compress_config import CompressConfig
from sightline.trained import load_trained
from sightline.training.state import LATEST

ENCODERS = "encoders"


def encoder_trainer(config: CompressConfig, run: RunFolder, metric: str) -> TrainLearned:
    """What trains an encoder of so many numbers, as a run in RUN/encoders, and returns it.

    The last epoch is taken: val is to judge the encoder, so it must not choose the epoch.
    """
    output = config.output.model_copy(update={"exp_dir": run.path / ENCODERS, "snapshots": False})

    def trained(size: int, quantizer: QuantizerName) -> nn.Module:
        model = config.model.model_copy(update={"latent_dim": size, "int8": quantizer == "int8"})
        data = config.data.model_copy(update={"normalize": metric == "cosine"})
        project = config.project.model_copy(update={"name": f"learned-{size}-{quantizer}"})
        parts = {"model": model, "data": data, "project": project, "output": output}
        with ExitStack() as quiet:
            # Each has its own log; on the terminal its lines would bury the table.
            nowhere = quiet.enter_context(open(os.devnull, "w", encoding="utf-8"))
            quiet.enter_context(redirect_stdout(nowhere))
            quiet.enter_context(redirect_stderr(nowhere))
            done = train(config.model_copy(update=parts), command=run.info["command"])
        done.update(parent=run.id)
        return load_trained(done, LATEST, device="cpu").model

    return trained
