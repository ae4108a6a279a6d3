"""`sightline train` from end to end: search, train, and what follows a training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from sightline.config import compare_configs, load_config, plain_tree
from sightline.errors import SightlineError, UsageError
from sightline.experiment import train
from sightline.experiment.recording import logged
from sightline.experiment.stages import Stages, ask_for, asked_for, require_probabilities
from sightline.finishing import finish_stages
from sightline.resume import Resume, find_unfinished, resumed_config
from sightline.runs import RunFolder, find_run, log, publish_latest
from sightline.submission import find_pictures, read_sample
from sightline.tasks.config import TaskConfig, of_pictures
from sightline.trained import TASK_CONFIGS, run_config
from sightline.trained.calibrated import CALIBRATION_FILE

Mode = Literal["basic", "highperf", "full-pipeline"]
HIGHPERF = "classify/highperf"
"""The recipe that --mode highperf puts in the place of the one that is named."""
EXP_DIR = Path("experiments/train")


@dataclass(frozen=True)
class Plan:
    """What `train` is to do, as its flags say; `check` refuses what contradicts itself."""

    mode: Mode = "basic"
    optimize: bool = False
    n_trials: int | None = None
    space: str | None = None
    """Search space: a recipe of task search, or a file."""
    auto_continue: bool = False
    use_calibration: bool = False
    skip_training: bool = False
    test: bool = False

    def check(self) -> None:
        """Raise UsageError for flags without effect or against each other."""
        for flag, given in (
            ("--n-trials", self.n_trials is not None),
            ("--optuna-config", self.space is not None),
            ("--auto-continue", self.auto_continue),
        ):
            if given and not self.optimize:
                raise UsageError(
                    f"{flag} says something of a search, and none is asked for.",
                    remedy=f"add --optimize, or leave out {flag}",
                )
        if self.skip_training and self.auto_continue:
            raise UsageError(
                "--skip-training and --auto-continue contradict each other.",
                expected="--optimize --skip-training to search only, or --optimize "
                "--auto-continue to train with what was found",
                remedy="leave out one of them",
            )

    @property
    def stages(self) -> Stages:
        """What follows the training."""
        whole = self.mode == "full-pipeline"
        return Stages(calibrate=self.use_calibration, test=self.test or whole, submit=whole)

    @property
    def recipe(self) -> str | None:
        """The recipe that stands in for the one that is named."""
        return HIGHPERF if self.mode == "highperf" else None


@dataclass(frozen=True)
class Request:
    """One call of `train`: what to train or to go on with, and how."""

    source: str | None
    overrides: Sequence[str]
    command: Sequence[str]
    plan: Plan = Plan()
    resume: Resume | None = None
    say: Callable[[str], object] | None = print
    """None in all but the first of several processes: those take part in training alone."""

    @property
    def exp_dir(self) -> Path:
        """Where runs are, before the configuration of the one to go on with is known."""
        for override in self.overrides:
            if override.startswith("output.exp_dir="):
                return Path(override.partition("=")[2])
        return EXP_DIR if self.source is None else self.load(None).output.exp_dir

    def load(self, recipe: str | None, **flags: object) -> TaskConfig:
        """The configuration, with one recipe in the place of another."""
        assert self.source is not None
        dotted = {key.replace("__", "."): value for key, value in flags.items()}
        config = load_config(
            self.source, self.overrides, tasks=TASK_CONFIGS, flags=dotted, recipe=recipe
        )
        assert isinstance(config, TaskConfig)
        return config


def run_pipeline(request: Request) -> RunFolder | None:
    """Do what was asked for, and return the trained run, or None after a search alone."""
    plan = request.plan
    plan.check()
    try:
        if request.resume is not None:
            return _go_on(request, request.resume)
        if plan.skip_training and not plan.optimize:
            return _apply(request, find_run("latest", [request.exp_dir]))
        config = _configured(request)
        if plan.optimize:
            best = _search(request)
            if not plan.auto_continue:
                return None
            config = _configured(Request(str(best), (), request.command, plan, say=request.say))
        return _train(request, config, plan.stages)
    except Exception as error:
        if request.say is not None:
            what = error.what if isinstance(error, SightlineError) else f"{error!r}"
            log("EXIT", f"[ERROR] training failed: {what.splitlines()[0]}")
        raise


def _configured(request: Request) -> TaskConfig:
    """The configuration to train, checked for what the later stages need."""
    plan = request.plan
    plain = request.load(None)
    flags = {"--mode highperf": plan.recipe is not None, "--use-calibration": plan.use_calibration}
    searches = {"--optimize without --optuna-config": plan.optimize and plan.space is None}
    require_probabilities(plain.task, flags | searches)
    config = plain if plan.recipe is None else request.load(plan.recipe)
    if (
        plan.recipe is not None
        and request.say is not None
        and request.source != plan.recipe
        and not compare_configs(plain_tree(plain), plain_tree(config))
    ):
        request.say(
            f"note: --mode {plan.mode} changes nothing, since {request.source} sets every key"
        )
    if plan.mode == "full-pipeline" and config.data.fold_count:
        fold = config.data.held_out_fold
        if request.say is not None and fold not in (0, "all"):
            request.say(
                f"note: --mode full-pipeline trains every fold, not data.valid_fold={fold} alone"
            )
        config = request.load(plan.recipe, data__valid_fold="all")
    if plan.stages.submit and (sample_csv := of_pictures(config).data.sample_csv) is not None:
        # Days of training are not to end with an id that has no picture.
        pictures = of_pictures(config)
        sample, folder = read_sample(sample_csv, pictures), pictures.data.image_dir_test
        find_pictures(sample, pictures, images=folder, say=lambda text: None)
    return config


def _search(request: Request) -> Path:
    """Search, and return the file of the best configuration."""
    from sightline.tune import search

    plan = request.plan
    if request.say is None:
        raise UsageError(
            "A search starts its own processes, so it cannot be one of torchrun's.",
            remedy="search first without torchrun, then train the configuration it writes",
        )
    assert request.source is not None
    outcome = search(
        request.source,
        request.overrides,
        space=plan.space or "classify/optuna",
        n_trials=plan.n_trials,
        recipe=plan.recipe,
        command=request.command,
        say=request.say,
    )
    if not plan.auto_continue:
        flags = " --use-calibration" if plan.use_calibration else ""
        flags += f" --mode {plan.mode}" if plan.mode == "full-pipeline" else ""
        request.say(f"train it with: sightline train {outcome.best_config_file}{flags}")
    return Path(outcome.best_config_file)


def _train(
    request: Request, config: TaskConfig, stages: Stages, *, resume: RunFolder | None = None
) -> RunFolder:
    say = request.say

    def finish(run: RunFolder) -> None:
        if say is not None:
            finish_stages(run, config, command=request.command, say=say)

    return train(config, command=request.command, stages=stages, resume=resume, then=finish)


def _go_on(request: Request, resume: Resume) -> RunFolder:
    """Continue a run: its training where that is not finished, then the stages that are left."""
    if request.plan.skip_training:
        return _apply(request, find_run(resume.run, [request.exp_dir]))
    run = find_unfinished(resume.run, request.exp_dir)
    given = _configured(replace(request, source=request.source or str(run.config_file)))
    config = resumed_config(run, given, anyway=resume.anyway)
    stages = asked_for(run) | request.plan.stages
    if run.info["status"] == "finished" and config.train.epochs <= run_config(run).train.epochs:
        if request.say is not None:
            # Again, in case that the run was killed before it could.
            publish_latest(run, config.output.exp_dir)
        return _finish(request, run, config, stages)
    # Weights that change take a calibration with them, by whatever command it was made.
    calibrated = (run.path / CALIBRATION_FILE).is_file()
    return _train(request, config, stages | Stages(calibrate=calibrated), resume=run)


def _apply(request: Request, run: RunFolder) -> RunFolder:
    """Apply a trained run without training it: calibrate if asked, then submit."""
    plan, source = request.plan, request.source or str(run.config_file)
    config = load_config(source, request.overrides, tasks=TASK_CONFIGS)
    assert isinstance(config, TaskConfig)
    if of_pictures(config).data.sample_csv is None:
        raise UsageError(
            "Nothing says what to predict, and --skip-training leaves nothing else to do.",
            expected="a sample submission: data.sample_csv=FILE data.image_dir_test=FOLDER",
            where=source,
            remedy="add them, or use: sightline predict RUN FOLDER --out FILE",
        )
    stages = Stages(calibrate=plan.use_calibration, test=plan.test, submit=True)
    return _finish(request, run, config, asked_for(run) | stages, again=("submit",))


def _finish(
    request: Request,
    run: RunFolder,
    config: TaskConfig,
    stages: Stages,
    *,
    again: tuple[str, ...] = (),
) -> RunFolder:
    """Do the stages of a run that is trained, in a log of their own."""
    if request.say is None:
        return run
    with logged(run, config, kind="pipeline") as logfile:
        ask_for(run, stages, again=again)
        return finish_stages(
            run, config, command=request.command, say=request.say, logfile=str(logfile)
        )
