"""Pages as one file each: templates, styles and scripts put together under a strict policy."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sightline.metrics.intervals import plural
from sightline.reports.wording import number, score

if TYPE_CHECKING:
    from markupsafe import Markup

_HERE = Path(__file__).parent


def render_page(
    template: str,
    data: Mapping[str, Any],
    *,
    styles: Sequence[str] = ("run.css",),
    scripts: Sequence[str] = (),
) -> str:
    """Return a page as HTML; ``styles`` and ``scripts`` name files of the static folder.

    The page's policy lets it fetch nothing, and run only these scripts.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=number, plural=plural, score=score)
    sources = [_asset(name) for name in scripts]
    page = environment.get_template(template).render(
        **data,
        styles=[Markup(_asset(name)) for name in styles],
        scripts=[Markup(source) for source in sources],
        script_hashes=[_fingerprint(source) for source in sources],
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
