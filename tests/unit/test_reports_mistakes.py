from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from sightline.reports.mistakes import find_mistakes
from sightline.reports.pictures import open_thumbnail


def test_mistakes_are_the_most_confident_ones_in_order() -> None:
    rows = [
        {"id": f"{i:03}", "target": "a", "prediction": "b" if i % 2 else "a", "confidence": c}
        for i, c in enumerate(["0.1", "0.5", "0.99", "0.9", "1.0", "nan", "x", "0.5"])
    ]
    rows.append({"id": "unlabelled", "target": "", "prediction": "b", "confidence": "1.0"})
    found = find_mistakes(iter(rows), shown=3)

    assert (found.rows, found.wrong) == (8, 4)
    assert [mistake.id for mistake in found.worst] == ["003", "001", "007"]


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGBA", "LA", "CMYK", "I;16", "I", "F"])
def test_every_kind_of_picture_has_a_thumbnail(tmp_path: Path, mode: str) -> None:
    file = tmp_path / "picture.tif"
    if mode == "P":
        picture = Image.new("RGB", (20, 10), "white").quantize(4)
        picture.putpixel((0, 0), 1)
    else:
        picture = Image.new(mode, (20, 10))
        dark, light = {"I;16": (0, 60_000), "I": (0, 60_000), "F": (0.0, 1.0)}.get(
            mode, (None, 255)
        )
        if dark is not None:
            picture.paste(light, (0, 0, 10, 10))
    picture.save(file)
    thumbnail = open_thumbnail(file, side=160)

    assert thumbnail is not None
    assert (thumbnail.mode, thumbnail.size) == ("RGB", (20, 10))
    if mode in {"I;16", "I", "F"}:
        assert thumbnail.getpixel((2, 5)) == (255, 255, 255)
        assert thumbnail.getpixel((17, 5)) == (0, 0, 0)
