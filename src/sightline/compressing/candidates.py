"""Which forms of a vector are compared: every transform and quantiser that has so many bytes.

D numbers of a vector before, d after the transform, B bytes.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from sightline.errors import DataError

TransformName = Literal["pca", "pca-whiten", "truncation", "random", "raw", "opq", "learned"]
QuantizerName = Literal["float32", "float16", "int8", "binary", "pq"]
SCALARS: tuple[QuantizerName, ...] = ("float32", "float16", "int8")
_WIDTHS: dict[QuantizerName, int] = {"float32": 4, "float16": 2, "int8": 1}
_LEAST_BYTES = 8
WITHOUT_FAISS = "pq and opq are left out: they need Faiss, pip install 'sightline[faiss]'"


@dataclass(frozen=True, slots=True, order=True)
class Spec:
    """One form of a vector: what it becomes, of how many numbers, and how those are stored."""

    bytes: int
    transform: TransformName
    quantizer: QuantizerName
    size: int
    """d, the numbers after the transform."""

    @property
    def name(self) -> str:
        """The form in short.

        >>> Spec(128, "pca", "int8", 128).name, Spec(16, "opq", "pq", 64).name
        ('pca-128-int8', 'opq-16')
        """
        if self.quantizer == "pq":
            first = f"learned-{self.size}-" if self.transform == "learned" else ""
            return f"{first}{'pq' if self.transform == 'raw' else 'opq'}-{self.bytes}"
        return f"{self.transform}-{self.size}-{self.quantizer}"

    @property
    def family(self) -> tuple[TransformName, QuantizerName]:
        """What it shares with forms of other sizes."""
        return self.transform, self.quantizer


def default_budgets(dimension: int) -> tuple[int, ...]:
    """Bytes that are tried for vectors of D numbers, ascending, up to those of float16.

    Powers of two from 8 and the middles between them, and the vector itself as int8 and float16.

    >>> default_budgets(64)
    (8, 12, 16, 24, 32, 48, 64, 96, 128)
    """
    most = 2 * dimension
    powers = [2**n for n in range(_LEAST_BYTES.bit_length() - 1, most.bit_length())]
    found = {*powers, *(3 * one // 2 for one in powers), dimension, most}
    return tuple(sorted(one for one in found if min(_LEAST_BYTES, most) <= one <= most))


def has_faiss() -> bool:
    """Whether Faiss is installed, without importing it."""
    return importlib.util.find_spec("faiss") is not None


def candidate_specs(
    dimension: int, budgets: Iterable[int], *, faiss: bool | None = None
) -> list[Spec]:
    """Every form but learned ones that has exactly one of the numbers of bytes, ascending.

    `faiss`: with pq and opq; None: where it is installed. Raises DataError where no form has any
    of the sizes.

    >>> [one.name for one in candidate_specs(8, [2], faiss=True) if one.transform == "pca"]
    ['pca-1-float16', 'pca-2-int8']
    """
    wanted = sorted(set(budgets))
    with_products = has_faiss() if faiss is None else faiss
    found = []
    for size in wanted:
        found += _scalars(dimension, size) + _bits(dimension, size)
        found += _products(dimension, size) if with_products else []
    if not found:
        raise DataError(
            "No form of the vectors has such a size.",
            expected="budgets of 1 byte or more",
            got=", ".join(map(str, wanted)) or "none",
        )
    return sorted(found)


def learned_spec(dimension: int, size: int, *, faiss: bool | None = None) -> Spec | None:
    """The form with a learned encoder that has so many bytes, and no more numbers than before.

    `faiss`: OPQ of what the encoder gives, which keeps more than int8 of fewer numbers wherever we
    looked, and so is worth the training; None: where it is installed. Without it, int8.

    >>> for faiss in (True, False):
    ...     print(learned_spec(1280, 64, faiss=faiss).name)
    learned-256-opq-64
    learned-64-int8
    """
    if (has_faiss() if faiss is None else faiss) and 2 * size <= dimension:
        return Spec(size, "learned", "pq", _learned_size(dimension, size))
    return Spec(size, "learned", "int8", size) if size <= dimension else None


def _scalars(dimension: int, size: int) -> list[Spec]:
    found = []
    for quantizer in SCALARS:
        count, rest = divmod(size, _WIDTHS[quantizer])
        if rest or not 1 <= count <= dimension:
            continue
        names: tuple[TransformName, ...] = ("pca", "pca-whiten", "truncation", "random")
        names = ("pca", "pca-whiten", "raw") if count == dimension else names
        found += [Spec(size, name, quantizer, count) for name in names]
    return found


def _bits(dimension: int, size: int) -> list[Spec]:
    found = [Spec(size, "random", "binary", 8 * size)]
    if 8 * size <= dimension:
        found.append(Spec(size, "pca", "binary", 8 * size))
    if size == -(-dimension // 8):
        found.append(Spec(size, "raw", "binary", dimension))
    return found


def _products(dimension: int, size: int) -> list[Spec]:
    """One byte for each part of at least two numbers; filled up with zeros where M divides not."""
    if 2 * size > dimension:
        return []
    padded = -(-dimension // size) * size
    return [Spec(size, "raw", "pq", padded), Spec(size, "opq", "pq", rotated_size(dimension, size))]


def _learned_size(dimension: int, parts: int) -> int:
    """The numbers that an encoder gives to product quantisation: a multiple of M, about 4 M.

    Fewer leave out more, and of more each centroid has to say more.
    """
    return min(dimension, max(64, 4 * parts)) // parts * parts


def rotated_size(dimension: int, parts: int) -> int:
    """The principal components that OPQ rotates: a multiple of M, about 512 or 4 M, at most D.

    The others hold next to nothing, and a rotation of all takes minutes to learn.

    >>> rotated_size(1280, 64), rotated_size(1280, 512), rotated_size(100, 8)
    (512, 1024, 96)
    """
    most = min(dimension, max(512, 4 * parts))
    return max(most // parts, 1) * parts
