"""What a compressed form has to keep, as a command names it: recall@10>=0.95."""

from __future__ import annotations

import re
from dataclasses import dataclass

from sightline.errors import UsageError

EXAMPLE = "recall@10>=0.95"
_FORM = re.compile(r"\s*recall@(\d+)\s*>=\s*([0-9.]+)\s*(%?)\s*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Target:
    """At least `recall`, a fraction, of the `k` nearest neighbours have to be found."""

    k: int
    recall: float

    def __str__(self) -> str:
        """Return it as a command names it.

        >>> str(Target(10, 0.95))
        'recall@10>=0.95'
        """
        return f"recall@{self.k}>={self.recall:g}"


def parse_target(text: str) -> Target:
    """The target that a text such as recall@10>=0.95 names; spaces do not matter.

    Raises UsageError for another text, a percentage, k below 1, and a recall outside 0..1.

    >>> parse_target("recall@5 >= 0.9")
    Target(k=5, recall=0.9)
    """
    found = _FORM.fullmatch(text)
    if found is None:
        raise _refusal("What is to be kept cannot be read.", f"a text such as {EXAMPLE}", text)
    k, number, percent = int(found[1]), found[2], found[3]
    try:
        recall = float(number)
    except ValueError:
        raise _refusal("The recall is no number.", "one such as 0.95", text) from None
    if percent or recall > 1:
        raise _refusal(
            "A recall is a fraction here, not a percentage.",
            "a number from 0 to 1",
            text,
            f'write "recall@{k}>={recall / 100:g}"' if recall <= 100 else None,
        )
    if k < 1 or not recall:
        raise _refusal("There is nothing to keep.", "k of 1 or more, and a recall above 0", text)
    return Target(k, recall)


def _refusal(what: str, expected: str, text: str, remedy: str | None = None) -> UsageError:
    return UsageError(
        what,
        expected=expected,
        got=repr(text),
        where="--keep",
        remedy=remedy or f'for example --keep "{EXAMPLE}"',
    )
