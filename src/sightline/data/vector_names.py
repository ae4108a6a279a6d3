"""Which of many columns holds the vectors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sightline.errors import DataError

USUAL = ("embedding", "embeddings", "vector", "vectors", "embedding_json")
"""Names that are looked for, in this order."""

_SHOWN = 20


def choose_name(names: Sequence[str], wanted: str | None, file: Path, *, what: str) -> str | None:
    """Return the wanted name, else the first usual one that is there, else None.

    ``what`` is what the names are of, in the words of the error for a wanted one that is missing.

    >>> choose_name(["id", "vector"], None, Path("vectors.parquet"), what="column")
    'vector'
    """
    if wanted is None:
        return next((name for name in USUAL if name in names), None)
    if wanted in names:
        return wanted
    raise DataError(
        f"There is no {what} called {wanted!r}.",
        expected=f"one of: {listed(names)}",
        got=wanted,
        where=file,
        remedy=f"name one of these as the column, or none to let the {what} be found",
    )


def listed(names: Sequence[str]) -> str:
    """Return names as people read them, the first twenty of many.

    >>> listed(["id", "vector"]), listed([])
    ('id, vector', 'none')
    """
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return (", ".join(names[:_SHOWN]) or "none") + more


def without_vectors(file: Path, names: list[str]) -> DataError:
    """The error for a file none of whose columns holds vectors."""
    return DataError(
        "Nothing in the file holds vectors.",
        expected="lists of numbers, or text that is such a list in JSON",
        got=f"columns {listed(names)}",
        where=file,
        remedy="name the file that was written with the vectors, or save them as .npy",
    )
