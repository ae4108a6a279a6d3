"""Milvus behind the interface of an index: a database in a file, or a server, by the same code.

The engine for galleries that outgrow one machine. Vectors are compared in full (index FLAT), so the
answers are those of the exact engine up to rounding.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from pathlib import Path
from typing import Any

import numpy as np

from sightline.errors import DataError, RunError
from sightline.search.gallery import MILVUS_FILE
from sightline.search.index import Array, State
from sightline.search.milvus_connection import connect, release, reported, server_address
from sightline.search.neighbours import Metric, Neighbours
from sightline.search.rescoring import best_of, queries_at_once, require_searchable, unit_length
from sightline.search.settings import Engine, IndexSettings

MOST_NEIGHBOURS = 16_384
"""What Milvus answers at most."""
_METRICS = {"cosine": "IP", "euclidean": "L2", "dot": "IP"}
_INSERTED_BYTES = 16 * 2**20
"""Sent in one message; servers refuse more than 64 MiB by default."""
_ASKED = 1024


class MilvusIndex:
    """A collection of a Milvus database, connected to when it is first asked."""

    engine: Engine = "milvus"

    def __init__(
        self,
        embeddings: Array,
        *,
        metric: Metric,
        settings: IndexSettings,
        uri: str,
        collection: str,
    ) -> None:
        self.embeddings, self.metric, self.settings = embeddings, metric, settings
        self.uri, self.collection = uri, collection
        self._client: Any = None
        self._address = ""

    @property
    def size(self) -> int:
        """Vectors in the database."""
        with reported(self.uri):
            found = self._connected().query(
                self.collection, filter="", output_fields=["count(*)"], consistency_level="Strong"
            )
        return int(found[0]["count(*)"])

    @property
    def dimension(self) -> int:
        """Numbers of each vector in the database."""
        with reported(self.uri):
            fields = self._connected().describe_collection(self.collection)["fields"]
        return next(int(one["params"]["dim"]) for one in fields if one["name"] == "embedding")

    def search(self, queries: Array, k: int) -> Neighbours:
        """The k nearest of each query; distances are computed from the embeddings.

        Raises DataError where k is more than Milvus answers, and RunError where it cannot be
        reached or holds another gallery.
        """
        queries = require_searchable(queries, self.embeddings.shape, k)
        _require_few(k)
        step = min(_ASKED, queries_at_once(k, queries.shape[1], self.settings.memory_mib))
        blocks = [
            self._search(queries[start : start + step], k) for start in range(0, len(queries), step)
        ]
        return Neighbours(
            np.concatenate([np.empty((0, k), np.float32), *(one.distances for one in blocks)]),
            np.concatenate([np.empty((0, k), np.int64), *(one.rows for one in blocks)]),
        )

    def save(self, folder: Path) -> State:
        """Copy the database into the folder, unless it lies where the settings say."""
        if self.settings.address is None:
            self.close()
            shutil.copytree(self.uri, folder / MILVUS_FILE)
        return {"collection": self.collection}

    def close(self) -> None:
        """Let go of the database; asked again, this or another index opens it again.

        Where it is a file only one process may have it open, and nobody may move it.
        """
        if self._client is not None:
            self._client.close()
            self._client = None
        release(self.uri)

    def _search(self, queries: Array, k: int) -> Neighbours:
        with reported(self.uri):
            answers = self._connected().search(
                self.collection, data=list(queries), limit=k, anns_field="embedding",
                output_fields=["row"], consistency_level="Strong",
            )  # fmt: skip
        if any(len(answer) != k for answer in answers):
            raise RunError(
                "Milvus holds fewer vectors than the gallery.",
                expected=f"{k} neighbours of each query",
                got=min(len(answer) for answer in answers),
                where=f"{self.collection} of {self.uri}",
                remedy="build the index anew",
            )
        rows = np.array([[hit["row"] for hit in answer] for answer in answers], dtype=np.int64)
        return best_of(queries, self.embeddings, rows, k, metric=self.metric)

    def _connected(self) -> Any:
        address = server_address(self.uri)
        # Whoever closed the file before has ended what answered at the old address.
        if self._client is None or address != self._address:
            self._client, self._address = connect(address), address
            self._client.load_collection(self.collection)
        return self._client


def build_milvus(embeddings: Array, *, metric: Metric, settings: IndexSettings) -> MilvusIndex:
    """A new collection with the embeddings; without an address in a temporary file."""
    uri, folder = settings.address, None
    if uri is None:
        folder = tempfile.mkdtemp(prefix="sightline-milvus-")
        uri = str(Path(folder) / MILVUS_FILE)
    collection = f"sightline_{os.urandom(8).hex()}"
    index = MilvusIndex(
        embeddings, metric=metric, settings=settings, uri=uri, collection=collection
    )
    if folder is not None:
        weakref.finalize(index, shutil.rmtree, folder, ignore_errors=True)
    with reported(uri):
        _fill(connect(server_address(uri)), embeddings, metric=metric, collection=collection)
    return index


def load_milvus(
    folder: Path, embeddings: Array, *, metric: Metric, settings: IndexSettings, state: State
) -> MilvusIndex:
    """The collection that was saved; RunError where the database is not there or lacks it."""
    uri = settings.address or str(folder / MILVUS_FILE)
    index = MilvusIndex(
        embeddings, metric=metric, settings=settings, uri=uri, collection=state["collection"]
    )
    if "://" not in uri and not Path(uri).exists():
        raise RunError(
            "The database of the index is missing.",
            expected=f"a Milvus database {uri}",
            where=folder,
            remedy="copy the folder again, or build the index anew",
        )
    with reported(uri):
        client = connect(server_address(uri))
        there = client.has_collection(index.collection)
        client.close()
    if not there:
        raise RunError(
            "The database does not hold the vectors of this index.",
            expected=f"a collection {index.collection}",
            where=uri,
            remedy="build the index anew",
        )
    return index


def _fill(client: Any, embeddings: Array, *, metric: Metric, collection: str) -> None:
    from pymilvus import DataType

    count, dimension = embeddings.shape
    schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
    schema.add_field("row", DataType.INT64, is_primary=True)
    schema.add_field("embedding", DataType.FLOAT_VECTOR, dim=dimension)
    parameters = client.prepare_index_params()
    parameters.add_index("embedding", index_type="FLAT", metric_type=_METRICS[metric])
    client.create_collection(collection, schema=schema, index_params=parameters)
    step = max(1, _INSERTED_BYTES // (4 * dimension))
    for start in range(0, count, step):
        block = np.ascontiguousarray(embeddings[start : start + step], dtype=np.float32)
        sent = unit_length(block) if metric == "cosine" else block
        client.insert(
            collection, [{"row": start + row, "embedding": one} for row, one in enumerate(sent)]
        )
    client.flush(collection)
    client.close()


def _require_few(k: int) -> None:
    if k > MOST_NEIGHBOURS:
        raise DataError(
            "Milvus does not answer so many neighbours.",
            expected=f"k of at most {MOST_NEIGHBOURS}",
            got=k,
            remedy="use another engine for this search",
        )
