"""How large the pictures are that a model sees: a square, or a height and a width."""

from __future__ import annotations

from typing import Annotated, NamedTuple

from pydantic import Field

Side = Annotated[int, Field(ge=8)]
ImageSize = Side | tuple[Side, Side]
"""What a user writes: one number for a square, or [height, width], in pixels."""


class Size(NamedTuple):
    """Height and width in pixels.

    >>> f"{Size(256, 128)}, {Size(64, 64)}"
    '256 x 128, 64 x 64'
    """

    height: int
    width: int

    def __str__(self) -> str:
        """Return the height, then the width."""
        return f"{self.height} x {self.width}"

    @property
    def shorter(self) -> int:
        """The shorter of the two sides."""
        return min(self)

    @property
    def longer(self) -> int:
        """The longer of the two sides."""
        return max(self)

    @property
    def is_square(self) -> bool:
        """Whether both sides are alike."""
        return self.height == self.width

    @property
    def setting(self) -> str:
        """What a user writes for it after `train.img_size=`.

        >>> Size(256, 128).setting, Size(64, 64).setting
        ('[256,128]', '64')
        """
        return str(self.height) if self.is_square else f"[{self.height},{self.width}]"


def size_of(img_size: ImageSize) -> Size:
    """Return height and width of what a user wrote.

    >>> size_of(224), size_of((256, 128))
    (Size(height=224, width=224), Size(height=256, width=128))
    """
    return Size(img_size, img_size) if isinstance(img_size, int) else Size(*img_size)
