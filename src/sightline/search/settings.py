"""Which engine searches a gallery, and what each engine may be told."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from sightline.config.section import Section

Engine = Literal["exact", "faiss-flat", "faiss-hnsw", "faiss-ivfpq", "milvus"]

_READERS: dict[str, tuple[Engine, ...]] = {
    "hnsw_links": ("faiss-hnsw",),
    "ef_construction": ("faiss-hnsw",),
    "ef_search": ("faiss-hnsw",),
    "lists": ("faiss-ivfpq",),
    "probes": ("faiss-ivfpq",),
    "code_bytes": ("faiss-ivfpq",),
    "rescored": ("faiss-ivfpq",),
    "threads": ("faiss-flat", "faiss-hnsw", "faiss-ivfpq"),
    "address": ("milvus",),
}
"""Keys that only some engines read."""


class IndexSettings(Section):
    """How the nearest vectors of a gallery are found."""

    engine: Engine = "exact"
    """exact compares with every vector and needs no package; faiss-flat does so with Faiss;
    faiss-hnsw walks a graph (Malkov and Yashunin 2018); faiss-ivfpq looks at a few cells of
    compressed vectors (Jegou et al. 2011); milvus asks a database, for galleries that outgrow
    one machine. hnsw and ivfpq are approximate: they may miss a neighbour."""
    hnsw_links: int = Field(default=32, ge=2, le=256)
    """Links of a vector in each layer of the graph of faiss-hnsw."""
    ef_construction: int = Field(default=128, ge=1)
    """Vectors that faiss-hnsw keeps in mind while it links a new one."""
    ef_search: int = Field(default=128, ge=1)
    """Vectors that faiss-hnsw keeps in mind while it searches, or the neighbours asked for."""
    lists: int = Field(default=0, ge=0)
    """Cells of faiss-ivfpq; 0: 4 sqrt(N), as many as have 39 vectors to learn from at most."""
    probes: int = Field(default=0, ge=0)
    """Cells that faiss-ivfpq looks at for a query; 0: a sixteenth of them, at least 8."""
    code_bytes: int = Field(default=0, ge=0)
    """Bytes that faiss-ivfpq keeps of a vector, a divisor of its dimension; 0: the largest divisor
    up to an eighth of the dimension, at least 16 bytes where the dimension allows."""
    rescored: int = Field(default=10, ge=1)
    """Candidates of faiss-ivfpq for each neighbour, compared again without compression."""
    threads: int = Field(default=0, ge=0)
    """Threads of Faiss; 0: as many as torch uses. faiss-hnsw builds the same graph twice only with
    one thread."""
    memory_mib: int = Field(default=512, ge=16)
    """Most memory for the blocks of one search, beyond the gallery and the answer."""
    address: str | None = None
    """Where milvus is: a server's address such as http://HOST:19530, or an absolute path that ends
    with .db; null: a database in the gallery's own folder."""

    @field_validator("address")
    @classmethod
    def _is_an_address(cls, address: str | None) -> str | None:
        if address is None or "://" in address:
            return address
        if not (Path(address).is_absolute() and address.endswith(".db")):
            raise ValueError(
                f"address is http://HOST:PORT or an absolute path that ends with .db, not {address}"
            )
        return address

    @model_validator(mode="after")
    def _engine_reads_its_keys(self) -> IndexSettings:
        for key, engines in _READERS.items():
            changed = getattr(self, key) != type(self).model_fields[key].default
            if changed and self.engine not in engines:
                readers = " and ".join(engines)
                raise ValueError(f"{key} is read only by {readers}, not by {self.engine}")
        return self
