"""What a search for the smallest form found, and what test says of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from sightline.compressing.candidates import Spec
from sightline.compressing.fitting import Fitted
from sightline.compressing.judging import Judged
from sightline.compressing.target import Target
from sightline.errors import RunError

Verdict = Literal["confirmed", "open", "contradicted"]
"""By the lower bound; by neither end of the interval; the whole interval is below the target."""


@dataclass(eq=False)
class Search:
    """What was tried, what was chosen on val, and how that did on test."""

    target: Target
    dimension: int
    chosen: Fitted | None = None
    """The smallest form whose lower bound on val reaches the target; None: there is none."""
    best: Fitted | None = None
    """The chosen form or, without one, the form of the highest recall on val."""
    val: dict[Spec, Judged] = field(default_factory=dict)
    test: dict[Spec, Judged] = field(default_factory=dict)
    """The chosen form and every other of the same bytes, and learned forms likewise; once each."""
    notes: list[str] = field(default_factory=list)

    @property
    def verdict(self) -> Verdict | None:
        """What test says of the form that val chose; None without such a form or a test."""
        if self.chosen is None or self.chosen.spec not in self.test:
            return None
        found, asked = self.test[self.chosen.spec], self.target
        if found.meets(asked.k, asked.recall):
            return "confirmed"
        return "contradicted" if found.estimates[asked.k].high < asked.recall else "open"

    def require_met(self) -> Fitted:
        """The chosen form; RunError that tells the best there is where no form met the target."""
        if self.chosen is not None:
            return self.chosen
        assert self.best is not None
        judged, k = self.val[self.best.spec], self.target.k
        raise RunError(
            "No form that was tried keeps so many neighbours.",
            expected=f"{self.target}, by the lower bound of 95 % on val",
            got=f"{self.best.spec.name} ({self.best.spec.bytes} bytes) keeps "
            f"{judged.estimates[k].value:.4f}, at least {judged.lower[k]:.4f}",
            remedy="ask for less, allow more bytes, or hold out more rows: few rows make the "
            "lower bound low",
        )
