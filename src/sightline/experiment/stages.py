"""The stages that follow a training, as run.json records them: what is asked for, what is done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from sightline.data.dataset import Dataset
from sightline.data.sample_settings import SampleDataConfig
from sightline.errors import ConfigError, UsageError
from sightline.runs import RunFolder
from sightline.tasks import TASKS


@dataclass(frozen=True)
class Stages:
    """What is asked for after the training; scores on val and the report always are."""

    calibrate: bool = False
    test: bool = False
    submit: bool = False

    def __or__(self, other: Stages) -> Stages:
        """What either asks for."""
        mine, theirs = asdict(self), asdict(other)
        return Stages(**{key: mine[key] or theirs[key] for key in mine})


def ask_for(run: RunFolder, stages: Stages, *, again: tuple[str, ...] = ()) -> None:
    """Write down what the run is to do after its training; what is named `again` is not done."""
    done = {key: at for key, at in _done(run).items() if key not in again}
    run.update(stages={**asdict(stages), "done": done})


def asked_for(run: RunFolder) -> Stages:
    """What was written down."""
    saved = run.info.get("stages") or {}
    return Stages(**{key: bool(saved.get(key)) for key in asdict(Stages())})


def require_probabilities(task: str, flags: Mapping[str, bool]) -> None:
    """Raise UsageError where a flag was given that only tasks with probabilities can follow."""
    given = [flag for flag, is_given in flags.items() if is_given]
    if not given or TASKS[task].answers == "probabilities":
        return
    others = " or ".join(name for name, one in TASKS.items() if one.answers == "probabilities")
    raise UsageError(
        f"{given[0]} is for tasks that answer with probabilities ({others}).",
        got=f"task {task}, which answers with {TASKS[task].answers}",
        remedy="leave it out",
    )


def require_validation(stages: Stages | None, dataset: Dataset, data: SampleDataConfig) -> None:
    """Raise ConfigError where a calibration is asked for and nothing is there to fit it on."""
    if stages is None or not stages.calibrate:
        return
    if not data.trains_every_fold and not len(dataset.part("val")):
        raise ConfigError(
            "A calibration is fitted on validation samples, and there are none.",
            got=f"data.val_fraction={data.val_fraction:g} and data.folds={data.fold_count}",
            remedy="set data.val_fraction=0.15 or data.folds=5, or leave out --use-calibration",
        )


def pending(run: RunFolder) -> list[str]:
    """The stages that are asked for and not done with the weights as they are, in their order."""
    if run.info.get("stages") is None:
        return []
    asked, data = asked_for(run), run.info.get("data", {})
    every_time = TASKS[run.info["task"]].stages
    wanted = {
        "index": "index" in every_time,
        "threshold": "threshold" in every_time,
        "val": "val" in every_time and bool(data.get("val")),
        "calibrate": asked.calibrate,
        "test": asked.test and bool(data.get("test")),
        "submit": asked.submit,
    }
    done, steps = _done(run), run.info.get("steps")
    return [name for name, yes in wanted.items() if yes and done.get(name, -1) != steps]


def record_done(run: RunFolder, name: str) -> None:
    """Write down that a stage is done with the weights as they are."""
    # Read anew: the stage may have written into run.json as well.
    saved = RunFolder.open(run.path).info["stages"]
    run.update(stages={**saved, "done": {**saved["done"], name: run.info.get("steps")}})


def _done(run: RunFolder) -> dict[str, int]:
    """The stages that were done, with the optimizer step that the weights had."""
    done: dict[str, int] = (run.info.get("stages") or {}).get("done", {})
    return done
