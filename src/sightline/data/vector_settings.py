"""The `data` section where samples are rows of a table of vectors."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import model_validator

from sightline.data.sample_settings import SampleDataConfig


class VectorDataConfig(SampleDataConfig):
    """A table of vectors, its split into rows to learn from and rows held out."""

    vectors: Path | None = None
    """The table: .npy, .npz, .parquet, .jsonl or .fvecs, one vector in each row."""
    column: str | None = None
    """Its column or array; null: embedding, vector, or the only one that holds vectors."""
    digits: Path | None = None
    """A folder that holds, or is to hold, the handwritten digits of scikit-learn as 64 numbers."""
    normalize: bool = False
    """Give every vector length one before anything else; neighbours are then those by cosine."""
    on_bad_row: Literal["error", "skip"] = "error"
    """What to do with rows that hold NaN or infinity; skip logs and counts them."""
    group_duplicates: bool = True
    """Keep identical rows in one split."""
    cache_dir: Path | None = None
    """Where tables that cannot be mapped are kept as .npy; without it the user's cache folder."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.vectors is not None and self.digits is not None:
            raise ValueError("name one source of vectors, not 2: vectors, digits")
        if self.digits is not None and self.column is not None:
            raise ValueError("column is not read with data.digits, only with vectors")
        return self
