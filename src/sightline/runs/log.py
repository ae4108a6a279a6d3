"""The tagged lines people and scripts look for in a log."""

from __future__ import annotations

import sys

TAGS = (
    "BOOT", "CFG", "PATH", "DATA", "FOLD", "ARTIFACTS", "MODEL", "EPOCH", "NEW_BEST", "DONE",
    "TRACK", "COPY", "STAGE", "EXIT",
)  # fmt: skip


def log(tag: str, message: str) -> None:
    """Print `[TAG] message` to stderr at once; NEW_BEST stands without brackets.

    A tag may carry a number, `EPOCH 3`. Any other word than those of TAGS is a ValueError.
    """
    print(tagged(tag, message), file=sys.stderr, flush=True)


def tagged(tag: str, message: str) -> str:
    """Return the line that `log` prints."""
    if tag.split(" ")[0] not in TAGS:
        raise ValueError(f"unknown tag {tag!r}; the tags are {', '.join(TAGS)}")
    if tag == "NEW_BEST":
        return f"{tag} {message}"
    # A second tag follows at once, as in `[EXIT][ERROR] training failed`.
    return f"[{tag}]{message}" if message.startswith("[") else f"[{tag}] {message}"
