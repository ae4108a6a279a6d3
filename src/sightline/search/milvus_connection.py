"""Connections to Milvus: a server, or a file that a thread of this process answers for."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sightline.errors import MissingExtraError, RunError


def server_address(uri: str) -> str:
    """Where the database answers; a file is opened, or stays open, by a thread of this process."""
    if "://" in uri:
        return uri
    found = _files().start_and_get_uri(uri)
    if found is None:
        raise RunError(
            "The Milvus database cannot be opened.",
            expected="a database that no other process has open",
            where=uri,
            remedy="end the other process, or copy the folder",
        )
    return str(found)


def release(uri: str) -> None:
    """Let go of a database in a file, for everybody in this process."""
    if "://" not in uri:
        _files().release_server(uri)


def _files() -> Any:
    """What opens the files; pymilvus uses it too, but never closes one."""
    try:
        from milvus_lite.server_manager import server_manager_instance
    except ImportError as error:
        raise MissingExtraError("milvus-lite", "milvus", "Engine milvus") from error
    return server_manager_instance


def connect(address: str) -> Any:
    """A client of the server at the address."""
    from pymilvus import MilvusClient

    return MilvusClient(address)


@contextmanager
def reported(uri: str) -> Iterator[None]:
    """Turn what Milvus raises in the block into one RunError; what it logs itself is left out."""
    try:
        from pymilvus.exceptions import MilvusException
    except ImportError as error:
        raise MissingExtraError("pymilvus", "milvus", "Engine milvus") from error
    logs = [logging.getLogger(name) for name in ("pymilvus", "milvus_lite", "grpc")]
    levels = [log.level for log in logs]
    for log in logs:
        log.setLevel(logging.CRITICAL)
    try:
        yield
    except MilvusException as error:
        raise RunError(
            "Milvus did not do what it was asked.",
            got=str(error).splitlines()[0],
            where=uri,
            remedy="see that the server runs, or that no other process has the database open",
        ) from error
    finally:
        for log, level in zip(logs, levels, strict=True):
            log.setLevel(level)
