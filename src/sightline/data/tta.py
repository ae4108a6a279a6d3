"""Named views of a test image; probabilities are averaged over them (test-time augmentation)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from sightline.config.image_size import ImageSize, size_of
from sightline.data.decode import Pixels
from sightline.data.effects import Effect, apply, blur_radius
from sightline.errors import ConfigError
from sightline.random_numbers import generator

TTA = Literal["none", "flip", "essential", "comprehensive"]
"""The names of the sets of views."""


@dataclass(frozen=True, slots=True)
class TestView:
    """One fixed change of what evaluation sees."""

    name: str
    effects: tuple[Effect, ...] = ()

    def __call__(self, pixels: Pixels, sample: str) -> Pixels:
        """The changed pixels (H, W, 3); a function of the pixels and the sample's id alone."""
        size = min(pixels.shape[:2])
        return apply(pixels, [_made(effect, size, sample) for effect in self.effects])


def tta_views(name: str, size: ImageSize = 1) -> tuple[TestView, ...]:
    """The views of a set: none 1, flip 2, essential 5, comprehensive 15, the original first.

    Raises ConfigError for any other name, and for a set with quarter turns where what the model
    sees, of this size, is no square.
    """
    if name not in get_args(TTA):
        raise ConfigError(
            f"There is no set of test views called {name!r}.",
            expected=" or ".join(get_args(TTA)),
        )
    if not size_of(size).is_square and needs_square(name):
        raise ConfigError(
            f"The test views called {name!r} turn pictures by 90 degrees, which needs a square.",
            expected=" or ".join(one for one in _SETS if not needs_square(one)),
            got=f"train.img_size={size_of(size).setting}",
            where="infer.tta",
            remedy="set infer.tta=flip, or train with a square train.img_size",
        )
    return _SETS[name]


def needs_square(name: str) -> bool:
    """Whether a view of the set exchanges height and width."""
    effects = [effect for view in _SETS[name] for effect in view.effects]
    return any(one.name == "transpose" or one == Effect("turn", (1,)) for one in effects)


def _made(effect: Effect, size: int, sample: str) -> Effect:
    """The effect for this shorter side; noise gets the sample's own seed."""
    if effect.name == "noise":
        seed = int(generator(0, 0, f"noise of a test view/{sample}").integers(2**32))
        return Effect("noise", (*effect.values, seed))
    if effect.name == "blur":
        return Effect("blur", (blur_radius(effect.values[0], size),))
    return effect


def _view(name: str, effect: str, *values: float) -> TestView:
    return TestView(name, (Effect(effect, values),))


_ORIGINAL = TestView("original")
_MIRRORED = _view("horizontal flip", "mirror")
_ESSENTIAL = (
    _ORIGINAL,
    _view("90 degrees", "turn", 1),
    _view("180 degrees", "turn", 2),
    _view("270 degrees", "turn", 3),
    _view("brightness", "brightness", 1.15),
)
_SETS: dict[str, tuple[TestView, ...]] = {
    "none": (_ORIGINAL,),
    "flip": (_ORIGINAL, _MIRRORED),
    "essential": _ESSENTIAL,
    "comprehensive": (
        *_ESSENTIAL,
        _view("+15 degrees", "rotate", 15),
        _view("-15 degrees", "rotate", -15),
        _MIRRORED,
        _view("vertical flip", "upend"),
        _view("transpose", "transpose"),
        _view("gamma", "gamma", 0.8),
        _view("clahe", "clahe", 2, 8),
        _view("blur", "blur", 0.6),
        _view("noise", "noise", 6),
        _view("jpeg", "jpeg", 80),
    ),
}
