"""The page of one run: everything worth knowing about it in one file that needs nothing else."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sightline.metrics.intervals import plural
from sightline.reports import sections
from sightline.reports.record import RunRecord, read_run_record
from sightline.reports.wording import choice_sentence, moment, number, sealed_sentence
from sightline.runs.files import write_atomically

if TYPE_CHECKING:
    from markupsafe import Markup

_HERE = Path(__file__).parent
_STYLES = ("uPlot.min.css", "run.css")
_SCRIPTS = ("uPlot.iife.min.js", "run.js")
_STATUS = {
    "created": "has not started",
    "running": "is still running, or was killed",
    "finished": "finished",
    "stopped": "was stopped",
    "failed": "failed",
}


def write_run_report(
    run_folder: Path, target: Path | None = None, *, image_root: Path | None = None
) -> Path:
    """Write the run's page, by default as ``report.html`` in its folder, and return its path.

    Reads the run folder and the pictures that its predictions name; relative ones are looked for
    under ``image_root``, then under ``data.root`` of run.json. RunError where it is no run folder.
    """
    target = run_folder / "report.html" if target is None else target
    page = render_run_report(read_run_record(run_folder), image_root=image_root)
    write_atomically(target, page)
    return target


def render_run_report(record: RunRecord, *, image_root: Path | None = None) -> str:
    """Return the page of a run as HTML; every part the run does not have is left out."""
    built = [
        sections.headline_section(record),
        sections.curves_section(record),
        sections.classes_section(record),
        sections.mistakes_section(record, image_root),
        sections.data_section(record),
        sections.config_section(record),
        sections.environment_section(record),
        sections.log_section(record),
    ]
    info = record.info
    status = str(info.get("status") or "unknown")
    times = info.get("times")
    return _render(
        {
            "name": str(info.get("name") or record.folder.name),
            "task": info.get("task"),
            "run_id": str(info.get("id") or record.folder.name),
            "status": status,
            "status_text": _STATUS.get(status, status),
            "started": moment(times.get("started")) if isinstance(times, dict) else None,
            "error": info.get("error"),
            "stop_reason": info.get("stop_reason"),
            "choice": choice_sentence(record),
            "test": sealed_sentence(record),
            "notes": record.notes,
            "sections": [section for section in built if section],
        }
    )


def _render(data: dict[str, Any]) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=number, plural=plural)
    scripts = [_asset(name) for name in _SCRIPTS]
    page = environment.get_template("run.html.j2").render(
        **data,
        styles=[Markup(_asset(name)) for name in _STYLES],
        scripts=[Markup(script) for script in scripts],
        script_hashes=[_fingerprint(script) for script in scripts],
        license=Markup(_asset("uPlot.LICENSE.txt")),
    )
    return page + "\n"


def _asset(name: str) -> str:
    return (_HERE / "static" / name).read_text(encoding="utf-8").replace("\r\n", "\n").strip()


def _fingerprint(script: str) -> Markup:
    from markupsafe import Markup

    # The page's policy names its own scripts, so a script smuggled in by a name would not run.
    digest = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
    return Markup(f"'sha256-{digest}'")
