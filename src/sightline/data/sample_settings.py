"""What the ``data`` section of every task has, whatever its samples are."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from sightline.config.section import Section

Fraction = Annotated[float, Field(ge=0, lt=1)]


class SampleDataConfig(Section):
    """What the `data` section of every task has, whatever its samples are."""

    val_fraction: Fraction = 0.15
    """Share of the samples carved off for validation where the data does not say."""
    test_fraction: Fraction = 0.15
    """Share of the samples carved off and sealed for the test where the data does not say."""
    verify_files: bool = True
    """Compare each file with its saved hash before it is used."""

    @property
    def fold_count(self) -> int:
        """Cross-validation folds; 0: one validation split."""
        return 0

    @property
    def held_out_fold(self) -> int | Literal["all"] | None:
        """The fold that validation is, or all in turn; None without folds."""
        return None

    @property
    def trains_every_fold(self) -> bool:
        """Whether every fold is trained in turn, in one run."""
        return False

    @property
    def variant(self) -> str:
        """What the log file's name says of how samples are changed in training."""
        return "none"

    @property
    def names_groups(self) -> bool:
        """Whether something says which samples belong together, beside identical ones."""
        return False

    @model_validator(mode="after")
    def _something_is_left_to_train_on(self) -> Self:
        if self.val_fraction + self.test_fraction >= 1:
            raise ValueError(
                "val_fraction and test_fraction leave nothing to train on: "
                f"{self.val_fraction} + {self.test_fraction} must be below 1"
            )
        return self
