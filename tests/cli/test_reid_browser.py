"""A re-identification run's page in a browser: pictures, marks, and that nothing is fetched."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from reid_report_run import EVIL, make_rows, write_reid_run

from sightline.reports.run_page import write_run_report

pytestmark = pytest.mark.browser
IDENTITIES, CAMERAS = 16, 6
MARKS = ("right", "wrong", "junk")


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a run with pictures of noise, which no picture format makes small."""
    rows = make_rows(IDENTITIES, CAMERAS, 3, noise=0.35)
    folder = write_reid_run(tmp_path_factory.mktemp("runs") / "plates", rows, size=(128, 256))
    lines = [
        {"event": "epoch", "epoch": e, "train_loss": 4 / e, "train_id": 3 / e, "train_triplet": 1,
         "train_center": 800 / e, "map": 0.2 * e, "rank_1": 0.3 * e}
        for e in (1, 2, 3)
    ]  # fmt: skip
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "metrics.jsonl").write_text(text, encoding="utf-8")
    return write_run_report(folder)


@pytest.mark.parametrize("width", [1200, 400])
@pytest.mark.parametrize("dark", [False, True])
def test_the_page_is_whole_alone_and_small(
    opened: Any, report: Path, width: int, dark: bool
) -> None:
    visit = opened(report, width=width, dark=dark)
    page = visit.page
    sizes = page.evaluate(
        """async () => Promise.all([...document.querySelectorAll("#matches image")].map(
            async (one) => {
                const picture = new Image();
                picture.src = one.getAttribute("href");
                await picture.decode();
                return picture.naturalWidth;
            }))"""
    )
    boxes = page.evaluate(
        """() => [...document.querySelectorAll("#matches .frame use")].map(
            (one) => one.getBoundingClientRect().width)"""
    )

    assert visit.complaints == []
    assert visit.fetched() == []
    assert set(sizes) == {67}  # half as wide as they are tall
    assert len(boxes) == 20 * 11
    assert min(boxes) > 60
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert report.stat().st_size < 1_500_000
    assert all(count > 20 for count in visit.coloured_pixels())
    page.close()


def test_a_query_stands_before_its_matches_in_one_line(opened: Any, report: Path) -> None:
    visit = opened(report)
    found = visit.page.locator("#matches .found").first
    boxes = found.locator(".frame").evaluate_all(
        "all => all.map((one) => [one.getBoundingClientRect().x, one.getBoundingClientRect().y])"
    )

    assert len(boxes) == 11
    assert [x for x, _ in boxes] == sorted(x for x, _ in boxes)
    assert len({round(y) for _, y in boxes}) == 1
    assert found.locator(".frame.asked-for").count() == 1
    visit.page.close()


@pytest.mark.parametrize("dark", [False, True])
def test_the_marks_differ_without_colour(opened: Any, report: Path, dark: bool) -> None:
    visit = opened(report, dark=dark)
    styles, signs = set(), set()
    for mark in MARKS:
        frame = visit.page.locator(f"#matches .frame.{mark}").first
        styles.add(frame.evaluate("one => getComputedStyle(one).borderTopStyle"))
        signs.add(visit.page.locator(f"#matches .near.{mark}").first.inner_text()[0])

    assert styles == {"solid", "dashed", "dotted"}
    assert signs == {"✓", "✗", "○"}
    visit.page.close()


@pytest.mark.parametrize("dark", [False, True])
def test_the_numbers_of_camera_pairs_are_readable(opened: Any, report: Path, dark: bool) -> None:
    visit = opened(report, dark=dark)
    contrasts = visit.page.locator("#cameras tbody td").evaluate_all(
        """all => all.map((one) => {
            const channels = (text) => text.match(/[\\d.]+/g).map(Number);
            const panel = channels(getComputedStyle(one.closest("section")).backgroundColor);
            const [r, g, b, a = 1] = channels(getComputedStyle(one).backgroundColor);
            const ground = [r, g, b].map((value, i) => a * value + (1 - a) * panel[i]);
            const light = (rgb) => rgb.slice(0, 3).map((v) => v / 255)
                .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
                .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
            const [low, high] = [light(channels(getComputedStyle(one).color)), light(ground)]
                .sort((x, y) => x - y);
            return [one.textContent, (high + 0.05) / (low + 0.05)];
        })"""
    )

    assert len(contrasts) == CAMERAS**2
    assert {text for text, contrast in contrasts if contrast < 3} == set()
    visit.page.close()


def test_names_of_identities_stay_text(opened: Any, report: Path) -> None:
    visit = opened(report)
    page = visit.page

    assert EVIL in page.locator("#identities").inner_text()
    assert page.locator("#matches b").count() == page.locator("#matches .asked").count()
    assert page.locator("#identities b").count() == 0
    page.close()


def test_a_printed_page_has_everything(opened: Any, report: Path) -> None:
    visit = opened(report, dark=True)

    assert visit.page.pdf().startswith(b"%PDF")
    assert visit.complaints == []
    visit.page.close()
