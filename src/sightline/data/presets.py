"""The ranges that random views are drawn from: six named sets, and what replaces their values."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sightline.data.augment_settings import AugmentConfig


@dataclass(frozen=True, slots=True)
class Augmentation:
    """The ranges that random views are drawn from."""

    scale: tuple[float, float]
    """Smallest and largest fraction of the image's area that is cut out."""
    ratio: tuple[float, float]
    """Narrowest and widest aspect ratio of the cut, relative to the output's."""
    flip: float
    """Probability of a mirror image."""
    rotate: float
    """Largest rotation in degrees, either way."""
    color: float
    """Largest change of brightness, contrast and saturation as a fraction."""
    erase: float
    """Probability of erasing a rectangle (Zhong et al. 2020)."""
    erase_area: tuple[float, float] = (0.02, 0.33)
    """Smallest and largest fraction of the output's area that is erased."""
    shift: float = 0.0
    """Largest move of the cut to each side, as a fraction of the output's shorter side."""
    vflip: float = 0.0
    """Probability of turning the image upside down as a mirror does."""
    quarter_turns: float = 0.0
    """Probability of a rotation by 90, 180 or 270 degrees, each alike."""
    randaugment: int = 0
    """Number of operations of RandAugment (Cubuk et al. 2020)."""
    randaugment_magnitude: float = 0.5
    """Their strength, 0..1; 1 is the paper's magnitude 10."""
    shadow: float = 0.0
    """Probability of the shadow of a fold."""
    downscale: float = 0.0
    """Probability of losing detail to a lower resolution."""
    blur: float = 0.0
    """Probability of a Gaussian blur."""
    noise: float = 0.0
    """Probability of Gaussian noise."""
    jpeg: float = 0.0
    """Probability of the artefacts of JPEG."""
    schedule: tuple[float, float] = (1.0, 1.0)
    """What the probabilities of strong operations are multiplied by, at first and in the end."""
    share: float = 1.0
    """That factor in the epoch under way; see `at`."""

    def at(self, epoch: int, epochs: int) -> Augmentation:
        """The ranges of one epoch (from 1) of so many: the schedule is linear in epoch / epochs."""
        first, last = self.schedule
        return replace(self, share=first + (last - first) * min(epoch / epochs, 1.0))

    @property
    def is_plain(self) -> bool:
        """Whether there is nothing but a crop, its move, flip, rotation, colour and erasing."""
        more = self.vflip or self.quarter_turns or self.randaugment or self.shadow
        return not (more or self.downscale or self.blur or self.noise or self.jpeg)

    @property
    def is_scheduled(self) -> bool:
        """Whether there is an operation that the schedule makes rarer."""
        return not self.is_plain or self.rotate > 0 or self.erase > 0


PRESETS = {
    "none": Augmentation((1.0, 1.0), (1.0, 1.0), flip=0.0, rotate=0.0, color=0.0, erase=0.0),
    "basic": Augmentation((0.6, 1.0), (0.8, 1.25), flip=0.5, rotate=0.0, color=0.2, erase=0.0),
    "strong": Augmentation(
        (0.25, 1.0), (0.75, 4 / 3), flip=0.5, rotate=15.0, color=0.4, erase=0.25
    ),
    "document": Augmentation(
        (0.75, 1.0),
        (0.87, 1.15),
        flip=0.0,
        rotate=5.0,
        color=0.15,
        erase=0.0,
        quarter_turns=0.1,
        shadow=0.3,
        downscale=0.2,
        blur=0.3,
        noise=0.3,
        jpeg=0.4,
    ),
    "hard": Augmentation(
        (0.4, 1.0),
        (0.75, 4 / 3),
        flip=0.5,
        rotate=15.0,
        color=0.3,
        erase=1.0,
        quarter_turns=1.0,
        randaugment=1,
        shadow=1.0,
        downscale=1.0,
        blur=1.0,
        noise=1.0,
        jpeg=1.0,
        schedule=(0.2, 0.5),
    ),
    # Luo et al., "Bag of Tricks and a Strong Baseline for Deep Person Re-identification" (2019):
    # flipping, cropping after padding by 10 pixels of 128, erasing.
    "reid": Augmentation(
        (1.0, 1.0),
        (1.0, 1.0),
        flip=0.5,
        rotate=0.0,
        color=0.0,
        erase=0.5,
        erase_area=(0.02, 0.4),
        shift=0.08,
    ),
}


def augmentation(config: AugmentConfig) -> Augmentation:
    """The preset with the values that were set instead."""
    changed = config.model_dump(exclude={"preset"}, exclude_none=True)
    return replace(PRESETS[config.preset], **changed)
