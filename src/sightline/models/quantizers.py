"""Quantisers: how the numbers of a transformed vector become bytes, and bytes numbers again.

N vectors of d numbers; `forward` encodes, `decode` gives the numbers that codes stand for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from sightline.errors import CheckpointError
from sightline.models.quantizer_products import ProductQuantizer

_TYPES = {"float32": torch.float32, "float16": torch.float16}
_LEVELS = 255
_CLIPS = 24
_ROWS_AT_ONCE = 4096
_LARGEST_HALF = 65504.0


def fit_int8(vectors: Tensor) -> Int8:
    """One scale and one zero point for each of d dimensions, from vectors (N, d) to fit.

    Of 24 ranges around the mean, from all of the numbers to a fifth of them, each dimension takes
    the one with the least squared error, since a wide range for a few outliers costs all others
    (Choukroun et al., "Low-bit quantization of neural networks for efficient inference", 2019).
    """
    low, high, mean = vectors.amin(dim=0), vectors.amax(dim=0), vectors.mean(dim=0)
    best = torch.full_like(mean, torch.inf)
    made = Int8(vectors.shape[1])
    for share in torch.linspace(1.0, 0.2, _CLIPS).tolist():
        trial = _covering(mean + share * (low - mean), mean + share * (high - mean))
        error = torch.zeros_like(mean)
        for block in vectors.split(_ROWS_AT_ONCE):
            error += (trial.decode(trial(block)) - block).square().sum(dim=0)
        better = error < best
        best = torch.where(better, error, best)
        made.scale.copy_(torch.where(better, trial.scale, made.scale))
        made.zero.copy_(torch.where(better, trial.zero, made.zero))
    return made


def symmetric_int8(step: Tensor) -> Int8:
    """Codes that stand for multiples of steps (d,), such as those that an encoder has learnt."""
    made = Int8(len(step), lowest=-127)
    made.scale.copy_(step.detach().abs())
    return made


def fit_binary(vectors: Tensor) -> Binary:
    """One bit for each of d dimensions: above the median of the vectors (N, d) to fit or not.

    The median makes both values equally frequent, which a bit says most with.
    """
    made = Binary(vectors.shape[1])
    made.centre.copy_(vectors.median(dim=0).values)
    return made


def make_quantizer(described: Mapping[str, Any]) -> Quantizer:
    """A quantiser of the form that its `describe` told, with tensors to be loaded.

    Raises CheckpointError for a kind that is not known here.
    """
    kind, size = described.get("kind"), described.get("size", 0)
    if kind in _TYPES:
        return Floating(size, kind)
    if kind == "int8":
        return Int8(size, lowest=described["lowest"])
    if kind == "binary":
        return Binary(size)
    if kind == "pq":
        return ProductQuantizer(size, described["parts"])
    raise CheckpointError(
        "A codec holds a quantiser that this version does not know.",
        expected="float32, float16, int8, binary or pq",
        got=kind,
        remedy="load it with the version of sightline that wrote it",
    )


class Floating(nn.Module):
    """Numbers as float32 or float16; of float16 the largest is 65504, and larger ones become it."""

    def __init__(self, size: int, kind: str) -> None:
        super().__init__()
        self.size, self.kind = size, kind

    @property
    def bytes_per_vector(self) -> int:
        """Bytes of one code."""
        return self.size * _TYPES[self.kind].itemsize

    def forward(self, vectors: Tensor) -> Tensor:
        """Codes (N, d) in the type."""
        if self.kind == "float16":
            vectors = vectors.clamp(-_LARGEST_HALF, _LARGEST_HALF)
        return vectors.to(_TYPES[self.kind])

    def decode(self, codes: Tensor) -> Tensor:
        """The numbers (N, d), float32."""
        return codes.float()

    def describe(self) -> dict[str, Any]:
        """What make_quantizer makes it from, as plain data."""
        return {"kind": self.kind, "size": self.size}


class Int8(nn.Module):
    """A whole number from -128 to 127 for each dimension: round((z - zero) / scale)."""

    scale: Tensor
    zero: Tensor

    def __init__(self, size: int, *, lowest: int = -128) -> None:
        super().__init__()
        self.size, self.lowest, self.kind = size, lowest, "int8"
        self.register_buffer("scale", torch.ones(size))
        self.register_buffer("zero", torch.zeros(size))

    @property
    def bytes_per_vector(self) -> int:
        """Bytes of one code."""
        return self.size

    def forward(self, vectors: Tensor) -> Tensor:
        """Codes (N, d) int8."""
        levels = ((vectors - self.zero) / self.scale).round()
        return levels.clamp(self.lowest, 127).to(torch.int8)

    def decode(self, codes: Tensor) -> Tensor:
        """The numbers (N, d), float32."""
        return codes.float() * self.scale + self.zero

    def describe(self) -> dict[str, Any]:
        """What make_quantizer makes it from, as plain data."""
        return {"kind": "int8", "size": self.size, "lowest": self.lowest}


class Binary(nn.Module):
    """One bit for each dimension, 1 where a number is above the centre; eight of them in a byte.

    The first dimension is the highest bit, as in numpy.packbits; the last byte is filled up with
    zeros. The bits stand for one above and one below the centre, so that the order by distance
    from a float query q is that by products (q - centre) with +-1: the rescoring of Shakir, Aarsen
    & Lee, "Binary and scalar embedding quantization", 2024, after Yamada et al. (2021). Searching
    looks at Hamming distances first; see sightline.compressing.finding.
    """

    centre: Tensor
    places: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size, self.kind = size, "binary"
        self.register_buffer("centre", torch.zeros(size))
        values = torch.tensor([128, 64, 32, 16, 8, 4, 2, 1], dtype=torch.int32)
        self.register_buffer("places", values, persistent=False)

    @property
    def bytes_per_vector(self) -> int:
        """Bytes of one code."""
        return -(-self.size // 8)

    def forward(self, vectors: Tensor) -> Tensor:
        """Codes (N, ceil(d / 8)) uint8."""
        bits = (vectors > self.centre).to(torch.int32)
        bits = nn.functional.pad(bits, (0, 8 * self.bytes_per_vector - self.size))
        packed = bits.unflatten(1, (-1, 8)) * self.places
        codes: Tensor = packed.sum(dim=2).to(torch.uint8)
        return codes

    def decode(self, codes: Tensor) -> Tensor:
        """The numbers (N, d), float32: the centre and 1 more or less."""
        return self.signs(codes) + self.centre

    def signs(self, codes: Tensor) -> Tensor:
        """The bits as 1 and -1, (N, d) float32."""
        bits = (codes.to(torch.int32)[:, :, None] & self.places) > 0
        signs: Tensor = bits.flatten(1)[:, : self.size].float() * 2 - 1
        return signs

    def describe(self) -> dict[str, Any]:
        """What make_quantizer makes it from, as plain data."""
        return {"kind": "binary", "size": self.size}


Quantizer = Floating | Int8 | Binary | ProductQuantizer
"""Any of the quantisers."""


def _covering(low: Tensor, high: Tensor) -> Int8:
    """Codes from -128 for low to 127 for high, (d,) each."""
    made = Int8(len(low))
    scale = (high - low) / _LEVELS
    # A dimension that never changes: any scale gives its value back, by the zero point.
    scale = torch.where(scale > 0, scale, 1.0)
    made.scale.copy_(scale)
    made.zero.copy_(torch.where(high > low, low + 128 * scale, low))
    return made
