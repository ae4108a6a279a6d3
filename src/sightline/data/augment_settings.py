"""The `data.augment` section: random changes to training pictures."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from sightline.config.section import Section
from sightline.data.presets import augmentation

Probability = Annotated[float, Field(ge=0, le=1)]
Preset = Literal["none", "basic", "strong", "document", "hard", "reid"]


class AugmentConfig(Section):
    """Random changes to training pictures; every key left empty takes the preset's value."""

    preset: Preset = "basic"
    """The set of values to start from; none leaves only the resize that evaluation uses, document
    is for scans and photos of text, hard grows with the epochs, reid is for pictures of persons."""
    scale: tuple[float, float] | None = None
    """Least and greatest share of the picture's area that a crop keeps, each above 0 and at most
    1."""
    shift: Annotated[float, Field(ge=0, le=0.5)] | None = None
    """Greatest move of the crop to each side, as a share of the shorter side of what the model
    sees; what lies outside the picture is filled."""
    flip: Probability | None = None
    """Probability of a horizontal flip."""
    rotate: Annotated[float, Field(ge=0, le=180)] | None = None
    """Greatest rotation to either side, in degrees."""
    color: Annotated[float, Field(ge=0, le=1)] | None = None
    """Greatest relative change of brightness, contrast and saturation."""
    erase: Probability | None = None
    """Probability of erasing a rectangle."""
    erase_area: tuple[float, float] | None = None
    """Least and greatest share of what the model sees that is erased, each above 0 and below 1."""

    vflip: Probability | None = None
    """Probability of a vertical flip."""
    quarter_turns: Probability | None = None
    """Probability of a rotation by 90, 180 or 270 degrees."""
    randaugment: Annotated[int, Field(ge=0, le=8)] | None = None
    """Number of RandAugment's operations on each picture (Cubuk et al. 2020)."""
    randaugment_magnitude: Annotated[float, Field(gt=0, le=1)] | None = None
    """Strength of these operations; 1 is the paper's magnitude 10."""
    shadow: Probability | None = None
    """Probability of the shadow of a fold."""
    downscale: Probability | None = None
    """Probability of losing detail: down to 0.6 to 0.9 of the side and back."""
    blur: Probability | None = None
    """Probability of a Gaussian blur of up to 0.9 pixels, for pictures of 224."""
    noise: Probability | None = None
    """Probability of noise with a deviation of 3 to 12 of 255."""
    jpeg: Probability | None = None
    """Probability of JPEG artefacts, of quality 60 to 95."""
    schedule: tuple[Probability, Probability] | None = None
    """Factors of the probabilities of erase, rotate, vflip and all keys below it, before the first
    epoch and in the last; linear in between."""

    @model_validator(mode="after")
    def _check_ranges(self) -> Self:
        if self.scale is not None and not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise ValueError(
                f"scale must be two shares, 0 < least <= greatest <= 1, got {list(self.scale)}"
            )
        if self.erase_area is not None and not 0 < self.erase_area[0] <= self.erase_area[1] < 1:
            raise ValueError(
                "erase_area must be two shares, 0 < least <= greatest < 1, "
                f"got {list(self.erase_area)}"
            )
        if self.erase_area is not None and not augmentation(self).erase:
            raise ValueError("erase_area is used only with erase; set for example erase to 0.5")
        if self.randaugment_magnitude is not None and not augmentation(self).randaugment:
            raise ValueError(
                "randaugment_magnitude is used only with randaugment; set for example "
                "randaugment to 2"
            )
        if self.schedule is not None and not augmentation(self).is_scheduled:
            raise ValueError(
                f"schedule is used only with operations that it holds for, and {self.preset} has "
                "none of them; set for example erase to 0.5"
            )
        return self
