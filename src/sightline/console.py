"""How the command line shows things to people: error screens and aligned tables."""

from __future__ import annotations

import errno
import shutil
import textwrap
from collections.abc import Sequence

import click

from sightline.errors import SightlineError

WIDEST = 120
MOST_LINES = 22
"""An error is read at a glance or not at all; what is left out is in the middle and counted."""
_LAST_LINES = 4
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
_WRONG_PATH = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP)


def show_error(error: SightlineError) -> None:
    """Print one screen to stderr: what went wrong, in red on a terminal, and the facts about it."""
    what, *facts = error_lines(str(error))
    click.secho(f"error: {what}", fg="red", bold=True, err=True)
    for line in facts:
        click.echo(line, err=True)


def error_lines(text: str, *, width: int | None = None, most: int = MOST_LINES) -> list[str]:
    """The text's lines, wrapped at words, at most `most` of them.

    >>> error_lines("a" * 5 + chr(10) + "b", width=40)
    ['aaaaa', 'b']
    """
    width = width or min(WIDEST, shutil.get_terminal_size((WIDEST, 24)).columns)
    lines = [part for line in text.splitlines() for part in _wrapped(line, width)]
    if len(lines) <= most:
        return lines
    left_out = len(lines) - most + 1
    first = most - 1 - _LAST_LINES
    return [*lines[:first], f"  ... {left_out} more lines ...", *lines[-_LAST_LINES:]]


def error_of_system(error: OSError) -> SightlineError | None:
    """What a user can do about an error of the operating system; None if it is rather our fault."""
    if error.errno in _FULL:
        remedy = "free some space, or choose another folder"
    elif error.errno in _FORBIDDEN:
        remedy = "allow reading and writing there, or choose another folder"
    elif error.errno in _WRONG_PATH and error.filename is not None:
        remedy = "correct the path; on the command line it is relative to the working directory"
    else:
        return None
    what = f"{error.filename}: {error.strerror}" if error.filename else f"{error.strerror}"
    return SightlineError(what, remedy=remedy)


def table_lines(rows: Sequence[Sequence[str]], *, numbers: Sequence[int] = ()) -> list[str]:
    """The rows as aligned columns; the columns in `numbers` are aligned to the right.

    >>> table_lines([("a", "1"), ("bb", "20")], numbers=[1])
    ['a    1', 'bb  20']
    """
    if not rows:
        return []
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            cell.rjust(width) if column in numbers else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _wrapped(line: str, width: int) -> list[str]:
    if len(line) <= width:
        return [line]
    indent = " " * (len(line) - len(line.lstrip()))
    # The facts of an error are "  name:     text": what is wrapped goes on below the text.
    is_fact = line.lstrip().startswith(("expected: ", "got: ", "where: ", "do: "))
    hanging = " " * 12 if is_fact else f"{indent}  "
    return textwrap.wrap(
        line,
        width,
        subsequent_indent=hanging,
        break_long_words=False,
        break_on_hyphens=False,
        drop_whitespace=True,
    ) or [line]
