"""Writes and reads the table of `sightline split`: samples, splits, and a hash of every file."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path, PurePath
from typing import TextIO

from sightline.data.csv_reader import fold_numbers, split_codes
from sightline.data.fingerprints import Digests, digest_text, digests
from sightline.data.manifest import COLUMNS, Category, Manifest, Strings, shortened
from sightline.data.table import read_table
from sightline.errors import DataError

SPLITS_FILE = "splits.csv"
"""The table's name in a folder."""


def write_splits(manifest: Manifest, target: Path, *, hashes: Digests | None = None) -> None:
    """Write the manifest's columns, and the hashes as column ``sha``, beside and then renamed.

    Paths are written relative to the folder of the file, so the two can be moved together.
    """
    root = path_from(target.resolve().parent, manifest.root)
    with written_beside(target, "splits") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(COLUMNS if hashes is None else (*COLUMNS, "sha"))
        for row in range(len(manifest)):
            fold = int(manifest.fold[row])
            values = (
                manifest.id[row],
                f"{root}{manifest.path[row]}",
                manifest.label.text(row),
                manifest.group.text(row),
                manifest.camera.text(row),
                manifest.split_text(row),
                "" if fold < 0 else fold,
                f"{root}{manifest.mask[row]}" if manifest.mask[row] else "",
            )
            writer.writerow(values if hashes is None else (*values, digest_text(hashes[row])))


def read_splits(
    file: Path, *, root: Path | None = None, verify: bool = True, workers: int | None = None
) -> Manifest:
    """The manifest that write_splits or Manifest.write_csv wrote.

    Paths are relative to ``root``, without it to the folder of the file. With ``verify`` and a
    column ``sha`` every file is hashed and compared. Of a folder its `splits.csv` is read.

    Raises DataError for missing columns, missing files and files whose content has changed.
    """
    if file.is_dir():
        file = file / SPLITS_FILE
    columns = {column: column for column in COLUMNS}
    table = read_table(file, columns, optional={"sha": "sha"})
    values = table.columns
    if not len(table.lines):
        raise DataError(
            f"The manifest {file} has a header and no rows.",
            remedy="make it with `sightline split`",
        )
    manifest = Manifest.build(
        root or file.parent,
        id=values["id"],
        path=values["path"],
        label=Category.encode(values["label"]),
        group=Category.encode(values["group"]),
        camera=Category.encode(values["camera"]),
        fold=fold_numbers(table, "fold"),
    ).with_split(split_codes(table, "split"))
    manifest = replace(manifest, mask=values["mask"])
    if verify and "sha" in values:
        _compare(manifest, values["sha"], file=file, workers=workers)
    return manifest


def _compare(manifest: Manifest, expected: Strings, *, file: Path, workers: int | None) -> None:
    current = digests(manifest, workers)
    texts = [digest_text(row) for row in current]
    # A row without a hash was added by hand: there is nothing to compare it with.
    changed = [row for row, text in enumerate(texts) if expected[row] not in ("", text)]
    if changed:
        raise DataError(
            f"{len(changed)} of {len(manifest)} files are not those the splits were made for.",
            expected="the content that the column sha records",
            got=shortened([manifest.id[row] for row in changed]),
            where=file,
            remedy="restore the files, make the splits again with `sightline split`, or set "
            "data.verify_files=false if the change is meant",
        )


def path_from(start: Path, root: Path) -> str:
    """What to put before a path below root so that it can be found from the folder `start`."""
    root = root.resolve()
    try:
        text = PurePath(os.path.relpath(root, start)).as_posix()
    except ValueError:  # Windows: another drive
        text = root.as_posix()
    return "" if text == "." else f"{text}/"


@contextmanager
def written_beside(target: Path, what: str) -> Iterator[TextIO]:
    """A text file that takes the place of target when all of it is written; DataError if not."""
    partial = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with partial.open("w", newline="", encoding="utf-8") as handle:
            yield handle
            handle.flush()
            os.fsync(handle.fileno())
        partial.replace(target)
    except OSError as error:
        raise DataError(
            f"The {what} cannot be written to {target}: {error.strerror}.",
            remedy="name a file in a folder you may write to, with room on the disk",
        ) from error
    finally:
        partial.unlink(missing_ok=True)
