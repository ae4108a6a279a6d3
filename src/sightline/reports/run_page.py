"""The page of one run: everything worth knowing about it in one file that needs nothing else."""

from __future__ import annotations

from pathlib import Path

from sightline.reports import (
    anomaly_sections,
    compress_sections,
    member_sections,
    reid_matches,
    reid_sections,
    retrieval_map,
    retrieval_neighbours,
    retrieval_sections,
    sections,
)
from sightline.reports.curve_section import curves_section
from sightline.reports.record import RunRecord, read_run_record
from sightline.reports.rendering import render_page
from sightline.reports.wording import choice_sentence, moment, sealed_sentence
from sightline.runs.files import write_atomically

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
        member_sections.folds_section(record),
        member_sections.ensemble_section(record),
        anomaly_sections.false_alarms_section(record),
        anomaly_sections.defects_section(record),
        anomaly_sections.scores_section(record),
        anomaly_sections.heat_maps_section(record, image_root),
        compress_sections.forms_section(record),
        compress_sections.kept_section(record),
        reid_sections.rankings_section(record),
        reid_sections.cmc_section(record),
        reid_matches.matches_section(record, image_root),
        reid_sections.identities_section(record, image_root),
        reid_sections.cameras_section(record),
        reid_sections.distances_section(record),
        retrieval_sections.answers_section(record),
        retrieval_neighbours.neighbours_section(record, image_root),
        retrieval_map.map_section(record),
        curves_section(record),
        retrieval_sections.class_search_section(record),
        sections.classes_section(record),
        member_sections.calibration_section(record),
        sections.mistakes_section(record, image_root),
        sections.data_section(record),
        sections.config_section(record),
        sections.environment_section(record),
        sections.log_section(record),
    ]
    info = record.info
    status = str(info.get("status") or "unknown")
    times = info.get("times")
    return render_page(
        "run.html.j2",
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
        },
        styles=("uPlot.min.css", "run.css"),
        scripts=("uPlot.iife.min.js", "run.js"),
    )
