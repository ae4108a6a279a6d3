"""What `check` reports: findings, each with its severity, examples and remedy, in one table."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

Severity = Literal["error", "warning", "info"]
_ORDER = {"error": 0, "warning": 1, "info": 2}
MOST_EXAMPLES = 5


@dataclass(frozen=True, slots=True)
class Finding:
    """One kind of observation; ``count`` says how often, ``what`` says it in words."""

    severity: Severity
    kind: str
    count: int
    what: str
    examples: tuple[str, ...] = ()
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class CheckReport:
    """All findings, the worst first, and how many pictures each class has in each split."""

    samples: int
    findings: tuple[Finding, ...]
    classes: dict[str, dict[str, int]]

    @property
    def exit_code(self) -> int:
        """1 when training on this data would be wrong, else 0."""
        return int(any(finding.severity == "error" for finding in self.findings))

    def as_dict(self) -> dict[str, Any]:
        """Plain data for ``--json``."""
        return {
            "samples": self.samples,
            "exit_code": self.exit_code,
            "findings": [asdict(finding) for finding in self.findings],
            "classes": self.classes,
        }

    def rows(self) -> list[tuple[str, str, str, str, str]]:
        """One row per finding for a table with the columns HEADER."""
        return [
            (
                finding.severity,
                finding.kind.replace("_", " "),
                f"{finding.count:,}",
                "\n".join([finding.what, *finding.examples]),
                finding.remedy,
            )
            for finding in self.findings
        ]


HEADER = ("severity", "kind", "count", "what", "remedy")


def sort_findings(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """The findings with errors first and infos last, otherwise in the order given."""
    return tuple(sorted(findings, key=lambda finding: _ORDER[finding.severity]))
