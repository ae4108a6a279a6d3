"""The models that answer together for a run: its folds, an ensemble's members, test views."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sightline.data.manifest import Manifest
from sightline.data.tta import TestView, tta_views
from sightline.errors import DataError, RunError, UsageError
from sightline.experiment import loader_for
from sightline.experiment.samples import Samples
from sightline.metrics.calibrators import Temperature
from sightline.runs import RunFolder
from sightline.tasks import TASKS
from sightline.tasks.config import PictureTaskConfig, TaskConfig
from sightline.tasks.task import Calibrator, Part, Task
from sightline.trained import best_checkpoints, load_trained, require_answers, run_config
from sightline.trained.calibrated import read_calibration
from sightline.trained.members import ENSEMBLE_FILE, Member, ensemble_members
from sightline.training.evaluator import join_by_id

Opener = Callable[[Manifest, TaskConfig], Samples]
"""Opens samples as one member's configuration says (pictures: for its image size)."""


@dataclass(frozen=True)
class Predictor:
    """What a run answers: a member's mean over views, calibrated, then the mean over members."""

    run: RunFolder
    config: TaskConfig
    task: Task
    members: tuple[Member, ...]
    tta: str = "none"
    calibrator: Calibrator | None = None
    """Applied to what the members say together."""
    device: str = "auto"

    @property
    def decision(self) -> Any:
        """What the task decides by beside the answers: thresholds, a gallery, or None."""
        return self.task.read_decision(self.run.path, self.members[0].checkpoint, self.config)

    @property
    def is_calibrated(self) -> bool:
        """Whether a calibration changes any probability; one that was not adopted does not."""
        calibrators = [self.calibrator, *(one.calibrator for one in self.members)]
        return any(one is not None and one != Temperature(1.0) for one in calibrators)

    def describe(self) -> dict[str, Any]:
        """What answers, as plain data."""
        return {
            "checkpoint": ", ".join(dict.fromkeys(one.checkpoint for one in self.members)),
            "members": len(self.members),
            "tta": self.tta,
            "calibrated": self.is_calibrated,
        }

    def answer(
        self, samples: Manifest, opened: Opener, *, held_out: bool = False
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Rows of the samples as used, and as raw: plain view, members' own logits.

        With `held_out` each sample is judged only by the members that were not trained on it, as
        a validation must. Raises DataError for samples that every member was trained on.
        """
        ids = [str(one) for one in samples.id]
        used: list[Part] = []
        raw: list[Part] = []
        answered = np.zeros(len(ids), bool)
        for member in self.members:
            rows = np.arange(len(ids))
            if held_out:
                rows = np.flatnonzero(~member.trained_on(ids))
            if not len(rows):
                continue
            answered[rows] = True
            # Of a run's folds one judges each held-out sample, with the weight of the whole run.
            weight = member.weight * (self._folds_of(member) if held_out else 1)
            views = self._views(member, samples.select(rows), opened)
            # The views' mean first: a temperature then leaves each member's answers as they are.
            mean = self.task.combine(
                [Part(view, 1.0, None) for view in views],
                [ids[row] for row in rows],
                calibrator=None,
            )
            used.append(Part(mean, weight, member.calibrator))
            alone = len(self.members) == 1 or not self.is_ensemble
            raw.append(Part(views[0], weight, None if alone else member.calibrator))
        if not answered.all():
            raise DataError(
                f"{int((~answered).sum())} samples were trained on by every member, so nothing "
                "can judge them.",
                got=", ".join([ids[row] for row in np.flatnonzero(~answered)][:5]),
                where=self.run.path,
                remedy="make the ensemble of runs that share their splits (data.manifest=FILE)"
                if self.is_ensemble
                else "leave out --checkpoint: each fold's model judges the fold it did not see",
            )
        return (
            self.task.combine(used, ids, calibrator=self.calibrator),
            self.task.combine(raw, ids, calibrator=None),
        )

    def _folds_of(self, member: Member) -> int:
        return sum(one.run.path == member.run.path for one in self.members)

    @property
    def is_ensemble(self) -> bool:
        """Whether the run has no models of its own."""
        return (self.run.path / ENSEMBLE_FILE).is_file()

    def _views(self, member: Member, samples: Manifest, opened: Opener) -> list[dict[str, Any]]:
        """The joined rows of one member for each view, the plain view first."""
        trained = load_trained(member.run, member.checkpoint, device=self.device)
        config, device = trained.config, trained.device
        content = opened(samples, config)
        views: Sequence[TestView | None] = [None]
        if isinstance(config, PictureTaskConfig):
            views = tta_views(self.tta, config.train.img_size)
        loaders = [
            loader_for(content, config, device=device, training=False, view=view) for view in views
        ]
        return [join_by_id(trained.outputs(loader)) for loader in loaders]


def create_predictor(
    run: RunFolder,
    *,
    checkpoint: str | None = None,
    tta: str | None = None,
    use_calibration: bool | None = None,
    device: str = "auto",
) -> Predictor:
    """What answers for a run: its best checkpoint, its folds together, or an ensemble's members.

    What is left out is taken from the run's `infer` section; a calibration is used when the run
    has one. Raises CheckpointError for a missing checkpoint, UsageError for a checkpoint of an
    ensemble, and RunError where a calibration is asked for that is not there.
    """
    config = run_config(run)
    if checkpoint and (run.path / ENSEMBLE_FILE).is_file():
        raise UsageError(
            "An ensemble has no checkpoints of its own; its members name theirs.",
            got=f"--checkpoint {checkpoint}",
            where=run.path / ENSEMBLE_FILE,
            remedy="leave out --checkpoint, or name a member's run",
        )
    infer = getattr(config, "infer", None)
    if use_calibration:
        require_answers(run, "probabilities", "a calibration")
    if tta not in (None, "none"):
        require_answers(run, "probabilities", "the mean of test views")
    wanted = getattr(infer, "use_calibration", True) if use_calibration is None else use_calibration
    calibration = read_calibration(run) if wanted else None
    if use_calibration and calibration is None:
        raise RunError(
            "The run has no calibration.",
            where=run.path,
            remedy=f"make it with: sightline calibrate {run.id}",
        )
    if (run.path / ENSEMBLE_FILE).is_file():
        members = ensemble_members(run, calibrated=wanted)
    else:
        names = [checkpoint] if checkpoint else best_checkpoints(run)
        calibrators = [calibration.member(name) if calibration else None for name in names]
        members = [
            Member(run, name, 1.0, calibrator)
            for name, calibrator in zip(names, calibrators, strict=True)
        ]
    return Predictor(
        run,
        config,
        TASKS[config.task],
        tuple(members),
        tta=getattr(infer, "tta", "none") if tta is None else tta,
        calibrator=calibration.ensemble if calibration else None,
        device=device,
    )
