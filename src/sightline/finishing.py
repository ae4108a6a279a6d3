"""What follows a training: score, calibrate, submit, report; a stage that is done stays done."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sightline.calibrate import calibrate_run
from sightline.evaluation import evaluate_run
from sightline.experiment.stages import asked_for, pending, record_done
from sightline.indexing import index_run
from sightline.reports.run_page import write_run_report
from sightline.runs import RunFolder, log
from sightline.submission import write_submission
from sightline.tasks.config import TaskConfig, of_pictures
from sightline.threshold import set_thresholds
from sightline.trained.calibrated import read_calibration

Say = Callable[[str], object]


def finish_stages(
    run: RunFolder,
    config: TaskConfig,
    *,
    command: Sequence[str],
    say: Say,
    logfile: str | None = None,
) -> RunFolder:
    """Do every stage of a trained run that is asked for and not done with its weights.

    `config` says where the sample submission is, and which device to use; `logfile` is named at
    the end, without it that of the training.
    """

    def evaluate(split: str) -> None:
        # Of val the plain probabilities: they are what a calibration is fitted on.
        calibrated = None if split == "test" else False
        result = evaluate_run(
            run, split, command=command, use_calibration=calibrated, device=config.train.device
        )
        for line in result.summary():
            say(f"{split} {line}")

    work: dict[str, Callable[[], object]] = {
        "index": lambda: index_run(run, device=config.train.device, say=say),
        "threshold": lambda: set_thresholds(run, device=config.train.device, say=say),
        "val": lambda: evaluate("val"),
        "calibrate": lambda: say(
            f"calibration {calibrate_run(run, _method(run), say=say).summary()}"
        ),
        "test": lambda: evaluate("test"),
        "submit": lambda: _submit(run, config, say=say),
    }
    for name in pending(run):
        log("STAGE", name)
        work[name]()
        record_done(run, name)
    if asked_for(run).test and not run.info["data"]["test"]:
        say("test: there is none; the data gives no test split and data.test_fraction made none")
    say(f"run {run.path}")
    say(f"report {write_run_report(run.path)}")
    log("EXIT", f"training finished successfully (see {logfile or run.info['log']} for details)")
    return RunFolder.open(run.path)


def _method(run: RunFolder) -> str:
    """How the run is calibrated, so that a calibration that is made again stays what it was."""
    earlier = read_calibration(run)
    return "temperature" if earlier is None else earlier.method


def _submit(run: RunFolder, config: TaskConfig, *, say: Say) -> None:
    """Write the submission that the `data` section describes."""
    data, infer = of_pictures(config).data, getattr(config, "infer", None)
    if data.sample_csv is None:
        say("submission: none, since data.sample_csv names no sample submission")
        return
    path = write_submission(
        run,
        sample=data.sample_csv,
        images=data.image_dir_test,
        tta=getattr(infer, "tta", None),
        accept_accuracy=getattr(infer, "accept_accuracy", None),
        device=config.train.device,
        say=say,
    )
    run.update(submission=str(path.absolute()))
