"""Every exception Sightline raises on purpose.

SightlineError                      exit code 1
├── UsageError                      2   the command was called wrongly
│   └── ConfigError                 2   unknown key, bad value, unreadable file
├── DataError                       1   a missing, unreadable or contradictory sample
│   ├── MaskSizeError               1   a mask that does not fit its picture (data/masks.py)
│   └── TooFewNormalsError          1   no threshold can keep the budget (metrics/conformal.py)
├── CheckpointError                 1   a file that cannot be saved or loaded
├── RunError                        1   a run folder that is missing, ambiguous or changed
├── TrainingError                   1   a step, model or loss that cannot go on
│   └── NonFiniteError              1   NaN or infinity, found before the weights were touched
├── MissingExtraError               1   an optional package that is not installed
└── Interrupted                     130 or 143   a signal; everything was saved first
"""

from __future__ import annotations


class SightlineError(Exception):
    """An error a user can act on: what happened, what was expected, what came, where, remedy."""

    exit_code = 1

    def __init__(
        self,
        what: str,
        *,
        expected: object = None,
        got: object = None,
        where: object = None,
        remedy: str | None = None,
    ) -> None:
        self.what, self.expected, self.got = what, expected, got
        self.where, self.remedy = where, remedy
        facts = (("expected", expected), ("got", got), ("where", where), ("do", remedy))
        lines = [f"  {name + ':':<10}{fact}" for name, fact in facts if fact is not None]
        super().__init__("\n".join([what, *lines]))


class UsageError(SightlineError):
    """A command called in a way that cannot work."""

    exit_code = 2


class ConfigError(UsageError):
    """A configuration that names an unknown key, has a bad value, or cannot be read."""


class DataError(SightlineError):
    """Data that is missing, unreadable or contradicts itself."""


class CheckpointError(SightlineError):
    """A checkpoint that cannot be written, read or trusted."""


class RunError(SightlineError):
    """A run folder that is missing, ambiguous, or was made with another configuration."""


class TrainingError(SightlineError):
    """Training that cannot go on without doing harm."""


class NonFiniteError(TrainingError):
    """A loss or gradient that is NaN or infinite; the weights are those before the step."""


class MissingExtraError(SightlineError):
    """An optional package is needed and not installed."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs the package {package}, which is not installed.",
            remedy=f"pip install 'sightline[{extra}]'",
        )


class Interrupted(SightlineError):  # noqa: N818 (it is the answer to a signal, not a fault)
    """A signal asked the process to end; state was saved before this was raised."""

    def __init__(self, what: str, *, exit_code: int, remedy: str | None = None) -> None:
        super().__init__(what, remedy=remedy)
        self.exit_code = exit_code
