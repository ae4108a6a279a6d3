"""The page of a run as its tests look at it: its HTML, its text, one section."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from sightline.reports.run_page import write_run_report


def write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def page_of(folder: Path) -> str:
    return write_run_report(folder).read_text(encoding="utf-8")


def text_of(page: str) -> str:
    body = re.sub(r"<(script|style)\b.*?</\1>", " ", page, flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]+>", " ", body).split())


def section_of(page: str, key: str) -> str:
    return page.split(f'<section id="{key}"')[1].split("</section>")[0]
