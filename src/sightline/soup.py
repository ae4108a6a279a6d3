"""`sightline soup`: the mean of several checkpoints' weights, kept only if validation gains by it.

The greedy soup of Wortsman et al., Model soups (2022), recipe 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from sightline.errors import CheckpointError, RunError
from sightline.experiment import SPLITS_FILE, images_of, loader_for, read_dataset
from sightline.runs import RunFolder
from sightline.tasks.task import Truth
from sightline.trained import TrainedModel, load_trained
from sightline.trained.joined_runs import (
    Source,
    create_joined,
    open_sources,
    require_one_validation,
    require_same_classes,
    require_sealed_test,
)
from sightline.training.checkpoint import load_checkpoint_file, save_checkpoint_file

Weights = dict[str, torch.Tensor]
Say = Callable[[str], object]


@dataclass(frozen=True)
class Ingredient:
    """One checkpoint with its own validation score."""

    run: RunFolder
    checkpoint: str
    epoch: int
    score: float

    @property
    def name(self) -> str:
        """Run and file, as people see them."""
        return f"{self.run.id}/{self.checkpoint}"


def make_soup(
    runs: Sequence[RunFolder],
    *,
    exp_dir: Path,
    command: Sequence[str],
    name: str = "soup",
    device: str = "auto",
    say: Say = print,
) -> RunFolder | None:
    """Average checkpoints of one run, or the best of several, and return the run they make.

    From the best downwards each checkpoint joins the mean only if the validation metric does not
    fall; the test is not read. None, after saying so, if the result does not beat the best
    checkpoint. Raises RunError for runs that cannot be averaged.
    """
    sources = open_sources(runs)
    require_same_classes(sources)
    require_sealed_test(sources)
    require_one_validation(sources)
    candidates = _candidates(sources)
    kitchen = _Kitchen(sources[0], device=device)
    tasted = sorted(
        (_tasted(kitchen, run, checkpoint) for run, checkpoint in candidates),
        key=lambda one: -one.score,
    )
    best, *others = tasted
    say(f"{kitchen.metric} {kitchen.plain(best.score):.4f} alone, the best: {best.name}")
    pot, kept, score = read_weights(best), [best], best.score
    steps = [_step(kitchen, best, best.score, kept=True)]
    for one in others:
        mixed = mean_weights(pot, read_weights(one), share=1 / (len(kept) + 1))
        tried = kitchen.score(mixed)
        if tried >= score:
            pot, score = mixed, tried
            kept.append(one)
        verdict = "kept" if kept[-1] is one else "left out"
        say(f"{kitchen.metric} {kitchen.plain(tried):.4f} with {one.name}: {verdict}")
        steps.append(_step(kitchen, one, tried, kept=kept[-1] is one))
    if len(kept) == 1 or score <= best.score:
        say(f"no soup was made: nothing beats {best.name} alone on validation")
        return None
    return _served(
        sources[0], kitchen, pot, kept, steps, exp_dir=exp_dir, name=name, command=command
    )


def mean_weights(mean: Weights, added: Weights, *, share: float) -> Weights:
    """The mean with one more set of weights, of which it takes this share.

    Numbers are added in float64; counters, which are whole numbers, stay those of the first.
    """
    mixed: Weights = {}
    for key, value in mean.items():
        if value.is_floating_point():
            both = value.double() * (1 - share) + added[key].double() * share
            mixed[key] = both.to(value.dtype)
        else:
            mixed[key] = value
    return mixed


def read_weights(ingredient: Ingredient) -> Weights:
    """The weights that a checkpoint is evaluated with: the running average where it has one."""
    state = load_checkpoint_file(ingredient.run.ckpt / ingredient.checkpoint)
    weights: Weights = state.get("average", state["model"])
    return weights


class _Kitchen:
    """The validation of the first run, by which everything is judged."""

    def __init__(self, first: Source, *, device: str) -> None:
        self.first = first
        config = first.config
        self.metric = config.train.monitor or "loss"
        self.trained: TrainedModel = load_trained(first.run, first.checkpoints[0], device=device)
        samples = read_dataset(first.run, config).part("val")
        if not len(samples):
            raise RunError(
                "The run has no validation samples to choose by.",
                where=first.run.path / SPLITS_FILE,
                remedy="train with data.val_fraction above 0",
            )
        images, _ = images_of(samples, config)
        self.samples = images.manifest
        self.loader = loader_for(images, config, device=self.trained.device, training=False)

    def score(self, weights: Weights) -> float:
        """The validation metric of the model with these weights, higher is better: -1 times a
        loss."""
        trained, config = self.trained, self.first.config
        trained.model.load_state_dict(weights)
        result = trained.task.evaluate(
            trained.outputs(self.loader), Truth(self.samples, trained.class_names), config
        )
        scores = result.as_dict()
        if self.metric == "loss":
            return -float(scores["loss"])
        return float(scores["headline"][self.metric]["value"])

    def plain(self, score: float) -> float:
        """A score as the metric is defined."""
        return -score if self.metric == "loss" else score


def _tasted(kitchen: _Kitchen, run: RunFolder, checkpoint: str) -> Ingredient:
    state = load_checkpoint_file(run.ckpt / checkpoint)
    weights = state.get("average", state["model"])
    _require_same_tensors(weights, kitchen.trained.model.state_dict(), run.ckpt / checkpoint)
    return Ingredient(run, checkpoint, int(state["epoch"]), kitchen.score(weights))


def _candidates(sources: Sequence[Source]) -> list[tuple[RunFolder, str]]:
    """The checkpoints to average: those of the one run, or the best one of each."""
    if len(sources) > 1:
        return [(source.run, source.checkpoints[0]) for source in sources]
    run = sources[0].run
    names = [sources[0].checkpoints[0], *sorted(file.name for file in run.ckpt.glob("epoch_*.pth"))]
    # The best one has the weights of its epoch's own file: one of the two is enough.
    by_epoch: dict[int, str] = {}
    for name in names:
        by_epoch.setdefault(int(load_checkpoint_file(run.ckpt / name)["epoch"]), name)
    if len(by_epoch) < 2:
        raise RunError(
            "The run has one checkpoint only, so there is nothing to average.",
            expected="the checkpoints of at least two epochs, or several runs",
            got=", ".join(names),
            where=run.ckpt,
            remedy="train with output.save_interval=1, or name more runs",
        )
    return [(run, name) for name in by_epoch.values()]


def _require_same_tensors(weights: Weights, expected: Weights, where: Path) -> None:
    apart = sorted(
        set(weights.keys() ^ expected.keys())
        | {
            key
            for key in weights.keys() & expected.keys()
            if weights[key].shape != expected[key].shape
        }
    )
    if apart:
        raise CheckpointError(
            "The checkpoints do not have the same tensors.",
            got=f"{len(apart)} differ, such as {apart[0]}",
            where=where,
            remedy="average runs of one model: model.name, pooling and classes alike",
        )


def _step(kitchen: _Kitchen, one: Ingredient, tried: float, *, kept: bool) -> dict[str, Any]:
    return {
        "run": one.run.id,
        "checkpoint": one.checkpoint,
        "epoch": one.epoch,
        "alone": kitchen.plain(one.score),
        "soup": kitchen.plain(tried),
        "kept": kept,
    }


def _served(  # noqa: PLR0913 (what the new run is made of)
    first: Source,
    kitchen: _Kitchen,
    weights: Weights,
    kept: Sequence[Ingredient],
    steps: list[dict[str, Any]],
    *,
    exp_dir: Path,
    name: str,
    command: Sequence[str],
) -> RunFolder:
    """The run folder of the soup, with its checkpoint."""
    best = kept[0]
    run = create_joined(
        first, exp_dir=exp_dir, name=name, kind="soup", command=command, parent=best.run.id
    )
    state = load_checkpoint_file(best.run.ckpt / best.checkpoint)
    about = {**state["about"], "run": run.id, "soup": [one.name for one in kept]}
    # The last one that was kept was scored together with all before it.
    value = [step["soup"] for step in steps if step["kept"]][-1]
    save_checkpoint_file(
        {
            "about": about,
            "epoch": best.epoch,
            "step": state["step"],
            "metrics": {kitchen.metric: value},
            "model": weights,
        },
        run.ckpt / "best_model.pth",
    )
    run.update(
        best={"metric": kitchen.metric, "value": value, "epoch": best.epoch}, ingredients=steps
    )
    run.set_status("finished")
    return run
