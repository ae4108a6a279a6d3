"""The check of data: each fault is found, named and judged; clean data passes."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageEnhance

from sightline.data.digits import write_digits
from sightline.data.file_chunks import over_files
from sightline.data.findings import HEADER, CheckReport, Finding
from sightline.data.fingerprints import digest_text, digests, scan
from sightline.data.folder_reader import read_folder
from sightline.data.lint import check
from sightline.data.manifest import Manifest
from sightline.data.near_duplicates import near_duplicates
from sightline.errors import DataError


def end_process(root: str, names: list[str]) -> None:
    """What a decoder that crashes does to its process."""
    os._exit(1)


def picture(seed: int, size: tuple[int, int] = (96, 72)) -> Image.Image:
    """A drawing of a few shapes, another one for every seed."""
    random = np.random.default_rng(seed)
    image = Image.new("RGB", (96, 72), tuple(random.integers(0, 256, 3).tolist()))
    draw = ImageDraw.Draw(image)
    for _ in range(12):
        x, y = random.integers(0, 80), random.integers(0, 60)
        w, h = random.integers(8, 40, 2)
        draw.ellipse((x, y, x + w, y + h), fill=tuple(random.integers(0, 256, 3).tolist()))
    return image.resize(size)


def folder(root: Path, *, count: int = 4, labels: str = "ab") -> Path:
    for code, label in enumerate(labels):
        (root / label).mkdir(parents=True)
        for row in range(count):
            picture(100 * code + row).save(root / label / f"{row}.jpg", quality=90)
    return root


def manifest(root: Path, paths: list[str], **columns: list[str]) -> Manifest:
    labels = columns.pop("label", [path.split("/")[0] for path in paths])
    return Manifest.build(root, id=paths, path=paths, label=labels, **columns)  # type: ignore[arg-type]


def found(report: CheckReport) -> dict[str, Finding]:
    return {finding.kind: finding for finding in report.findings}


def test_clean_data_passes_with_information_alone(tmp_path: Path) -> None:
    report = check(read_folder(folder(tmp_path)))
    assert report.exit_code == 0
    assert {finding.severity for finding in report.findings} == {"info"}
    assert found(report).keys() == {"class_counts", "image_size"}
    assert "96x72 to 96x72" in found(report)["image_size"].what
    assert report.classes == {"a": {"all": 4}, "b": {"all": 4}}


def test_broken_files_are_errors(tmp_path: Path) -> None:
    root = folder(tmp_path)
    content = (root / "a" / "0.jpg").read_bytes()
    (root / "a" / "cut.jpg").write_bytes(content[: len(content) * 3 // 4])
    (root / "a" / "text.png").write_text("not a picture")
    (root / "b" / "empty.jpg").write_bytes(b"")
    whole = root / "whole.png"
    picture(5).save(whole)
    (root / "b" / "cut.png").write_bytes(whole.read_bytes()[:-200])
    table = read_folder_without(root, whole)
    gone = table.path.tolist().index("b/1.jpg")
    table.file(gone).unlink()
    report = check(table)
    assert report.exit_code == 1
    kinds = found(report)
    assert kinds["missing_file"].examples == ("b/1.jpg (No such file or directory)",)
    assert kinds["empty_file"].examples == ("b/empty.jpg (empty file)",)
    names = [example.split(" ")[0] for example in kinds["unreadable_image"].examples]
    assert names == ["a/cut.jpg", "a/text.png", "b/cut.png"]
    assert "truncated" in kinds["unreadable_image"].examples[0]
    assert [finding.severity for finding in report.findings[:3]] == ["error"] * 3
    assert "duplicate" not in kinds


def read_folder_without(root: Path, extra: Path) -> Manifest:
    extra.unlink()
    return read_folder(root)


@pytest.mark.parametrize("name", ["x.png", "x.webp", "x.bmp", "x.tif", "x.gif.png"])
def test_a_cut_file_of_every_format_is_found(name: str, tmp_path: Path) -> None:
    file = tmp_path / name
    picture(1).save(file)
    whole = manifest(tmp_path, [name], label=["a"])
    assert scan(whole).problems == {}
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    assert list(scan(whole).problems) == [0]


def test_copies_across_splits_and_labels_are_errors(tmp_path: Path) -> None:
    root = folder(tmp_path, count=6)
    for copy, source in (("a/c1", "a/1"), ("a/c2", "a/2"), ("b/c3", "a/3")):
        (root / f"{copy}.jpg").write_bytes((root / f"{source}.jpg").read_bytes())
    table = read_folder(root)
    split = ["test" if path == "a/c1.jpg" else "fit" for path in table.path.tolist()]
    report = check(manifest(root, table.path.tolist(), split=split))
    kinds = found(report)
    assert report.exit_code == 1
    across = kinds["duplicate_across_splits"]
    assert across.examples == ("a/1.jpg [train] = a/c1.jpg [test]",)
    assert kinds["duplicate_with_other_label"].examples == ("a/3.jpg [train] = b/c3.jpg [train]",)
    assert (kinds["duplicate"].severity, kinds["duplicate"].count) == ("warning", 1)
    unsplit = check(table)
    assert "duplicate_across_splits" not in found(unsplit)
    assert found(unsplit)["duplicate"].count == 2
    assert found(unsplit)["duplicate"].examples[0] == "a/1.jpg = a/c1.jpg"


def test_look_alikes_across_splits_are_found_and_joined(tmp_path: Path) -> None:
    root = folder(tmp_path, count=20)
    whole = picture(3)
    whole.save(root / "a" / "again.jpg", quality=40)
    whole.resize((48, 36)).save(root / "a" / "small.png")
    ImageEnhance.Brightness(whole).enhance(0.8).save(root / "a" / "dark.jpg", quality=85)
    exif = Image.Exif()
    exif[0x0112] = 6
    whole.transpose(Image.Transpose.ROTATE_90).save(
        root / "a" / "turned.jpg", exif=exif, quality=90
    )
    paths = read_folder(root).path.tolist()
    split = ["val" if "small" in path else "fit" for path in paths]
    kinds = found(check(manifest(root, paths, split=split)))
    across = kinds["near_duplicate_across_splits"]
    assert (across.severity, across.count) == ("warning", 1)
    assert across.examples[0].startswith("a/3.jpg [train] = a/small.png [val]")
    assert across.examples[0].endswith("and 2 more")
    assert kinds["rotated_by_exif"].count == 1
    alone = check(manifest(root, paths, split=split), near_duplicates=False)
    assert "near_duplicate_across_splits" not in found(alone)


def test_a_look_alike_of_a_copy_reaches_over_splits(tmp_path: Path) -> None:
    root = folder(tmp_path)
    (root / "a" / "copy.jpg").write_bytes((root / "a" / "0.jpg").read_bytes())
    picture(0).save(root / "a" / "again.jpg", quality=60)
    paths = ["a/0.jpg", "a/copy.jpg", "a/again.jpg", "b/1.jpg"]
    report = check(manifest(root, paths, split=["fit", "test", "fit", "fit"]))
    assert found(report)["near_duplicate_across_splits"].count == 1


def test_plain_pictures_do_not_flood_the_table(tmp_path: Path) -> None:
    table = read_folder(write_digits(tmp_path / "digits"))
    seen = scan(table, workers=1)
    assert seen.problems == {}
    assert len(near_duplicates(seen.thumbnails, np.arange(len(table)))) <= 2


def test_flat_pictures_are_not_compared(tmp_path: Path) -> None:
    for row in range(6):
        Image.new("L", (32, 32), 100 + row).save(tmp_path / f"{row}.png")
    table = manifest(tmp_path, [f"{row}.png" for row in range(6)], label=list("ababab"))
    assert "near_duplicate" not in found(check(table))


def test_groups_and_labels_over_splits(tmp_path: Path) -> None:
    root = folder(tmp_path, labels="abc")
    paths = ["a/0.jpg", "a/1.jpg", "b/0.jpg", "b/1.jpg", "c/0.jpg"]
    columns = {"split": ["fit", "val", "train", "val", "test"], "group": ["g", "g", "h", "", ""]}
    report = check(manifest(root, paths, **columns))
    kinds = found(report)
    assert kinds["group_in_several_splits"].examples == ("g (train, val)",)
    assert kinds["label_unseen_in_training"].severity == "error"
    assert kinds["label_unseen_in_training"].examples == ("c",)
    assert kinds["class_with_one_picture"].examples == ("c",)
    assert kinds["unused_file"].count == 7
    assert report.exit_code == 1
    columns["group"] = [""] * 5
    opened = check(manifest(root, paths, **columns), open_set=True)
    assert found(opened)["label_unseen_in_training"].severity == "info"
    assert opened.exit_code == 0


def test_uneven_classes_are_a_warning(tmp_path: Path) -> None:
    root = folder(tmp_path, count=22)
    paths = [f"a/{row}.jpg" for row in range(22)] + ["b/0.jpg", "b/1.jpg"]
    finding = found(check(manifest(root, paths)))["class_counts"]
    assert (finding.severity, finding.count) == ("warning", 2)
    assert "b 2 to a 22" in finding.what


def test_sizes_and_modes(tmp_path: Path) -> None:
    picture(1, (10, 40)).save(tmp_path / "small.png")
    picture(2, (64, 40)).save(tmp_path / "fine.png")
    picture(3).convert("L").save(tmp_path / "grey.png")
    picture(4).convert("RGBA").save(tmp_path / "alpha.png")
    deep = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64) * 16
    Image.fromarray(deep).save(tmp_path / "deep.png")
    picture(5).convert("CMYK").save(tmp_path / "print.jpg")
    names = ["small.png", "fine.png", "grey.png", "alpha.png", "deep.png", "print.jpg"]
    table = manifest(tmp_path, names, label=list("ababab"))
    report = check(table, min_image_size=32)
    kinds = found(report)
    assert kinds["small_image"].examples == ("small.png",)
    assert kinds["grey_image"].examples == ("grey.png",)
    assert kinds["transparent_image"].examples == ("alpha.png",)
    assert kinds["deep_image"].examples == ("deep.png",)
    assert "10x40 to 96x72" in kinds["image_size"].what
    assert report.exit_code == 0


def test_the_report_as_rows_and_as_json(tmp_path: Path) -> None:
    root = folder(tmp_path)
    (root / "a" / "bad.jpg").write_bytes(b"no")
    report = check(read_folder(root))
    rows = report.rows()
    assert all(len(row) == len(HEADER) for row in rows)
    assert rows[0][:3] == ("error", "unreadable image", "1")
    plain = json.loads(json.dumps(report.as_dict()))
    assert plain["exit_code"] == 1
    assert plain["samples"] == 9
    assert plain["findings"][0]["examples"] == ["a/bad.jpg (not a picture in a known format)"]
    assert plain["classes"]["a"] == {"all": 5}


def test_processes_find_what_one_process_finds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = folder(tmp_path, count=8)
    (root / "b" / "7.jpg").write_bytes(b"no")
    table = read_folder(root)
    alone = scan(table, workers=1)
    monkeypatch.setattr("sightline.data.file_chunks._PARALLEL_FROM", 1)
    monkeypatch.setattr("sightline.data.file_chunks._CHUNK", 3)
    shared = scan(table, workers=2)
    assert (shared.record == alone.record).all()
    assert (shared.thumbnails == alone.thumbnails).all()
    assert shared.problems == alone.problems == {15: "not a picture in a known format"}
    assert (digests(table, workers=2) == alone.record["digest"]).all()


def test_a_process_that_dies_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sightline.data.file_chunks._PARALLEL_FROM", 1)
    table = manifest(tmp_path, ["a/1.jpg"])
    with pytest.raises(DataError, match=r"ended without an answer[\s\S]*rows 0 to 255"):
        list(over_files(table, end_process, workers=2))


def test_a_digest_is_that_of_the_bytes(tmp_path: Path) -> None:
    from hashlib import blake2b

    root = folder(tmp_path)
    table = read_folder(root)
    content = table.file(2).read_bytes()
    assert digest_text(digests(table)[2]) == blake2b(content, digest_size=16).hexdigest()
    table.file(2).unlink()
    with pytest.raises(DataError, match=r"1 of 8 files cannot be read[\s\S]*sightline check"):
        digests(table)


def test_no_files_at_all_is_no_crash(tmp_path: Path) -> None:
    report = check(manifest(tmp_path, ["gone/1.jpg", "gone/2.jpg"], label=["a", "b"]))
    assert (report.exit_code, found(report)["missing_file"].count) == (1, 2)
    assert math.prod(scan(manifest(tmp_path, [])).thumbnails.shape) == 0
