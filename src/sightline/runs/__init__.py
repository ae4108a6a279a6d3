"""Runs on disk: their folders, history, log files, and how to find them."""

from __future__ import annotations

from sightline.runs.files import append_line, file_hash, replace_atomically, write_atomically
from sightline.runs.folder import STATUSES, RunFolder
from sightline.runs.history import History, read_rows
from sightline.runs.latest import publish_latest, read_latest
from sightline.runs.log import TAGS, log
from sightline.runs.logfile import LogFile
from sightline.runs.lookup import find_run, list_runs
from sightline.runs.provenance import displayed_status, git_state, process_identity

__all__ = [
    "STATUSES",
    "TAGS",
    "History",
    "LogFile",
    "RunFolder",
    "append_line",
    "displayed_status",
    "file_hash",
    "find_run",
    "git_state",
    "list_runs",
    "log",
    "process_identity",
    "publish_latest",
    "read_latest",
    "read_rows",
    "replace_atomically",
    "write_atomically",
]
