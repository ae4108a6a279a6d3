"""`sightline check` on folders of identities: which recipe, which protocol, and what is wrong."""

from __future__ import annotations

import shutil
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sightline.checking import check_source, split_source
from sightline.data.findings import Finding
from sightline.data.reid_layouts import holds_identities
from sightline.errors import DataError


def pictures(root: Path, *names: str) -> Path:
    for name in names:
        target = root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        random = np.random.default_rng(zlib.crc32(name.encode()))
        Image.fromarray(random.integers(0, 256, (8, 4, 3), np.uint8)).save(target)
    return root


def market(root: Path) -> Path:
    train = [
        f"bounding_box_train/{name:04d}_c{row}s1_1.png" for name in range(1, 7) for row in (1, 2)
    ]
    return pictures(root, *train, "query/0008_c1s1_1.png", "bounding_box_test/0008_c2s1_1.png")


def found(source: object, *overrides: str) -> dict[str, list[Finding]]:
    report = check_source(str(source), [*overrides, "data.workers=0"], near_duplicates=False)
    result: dict[str, list[Finding]] = {}
    for one in report.findings:
        result.setdefault(one.kind, []).append(one)
    return result


def kinds(findings: dict[str, list[Finding]], severity: str) -> set[str]:
    return {kind for kind, ones in findings.items() if ones[0].severity == severity}


def test_a_folder_of_identities_is_known_and_its_protocol_explained(tmp_path: Path) -> None:
    report = found(market(tmp_path))
    assert not kinds(report, "error") | kinds(report, "warning")
    said = [one.what for one in report["protocol"]]
    assert said[0].startswith("protocol of test: 1 pictures of query (1 identities) ask for 1 pic")
    assert said[1].startswith("protocol of val: each of the 4 pictures of val asks for the others")
    assert "because pictures lie flat in bounding_box_train" in report["layout"][0].what


def test_folders_for_other_tasks_are_not_taken_for_identities(tmp_path: Path) -> None:
    classes = pictures(tmp_path / "a", "train/cat/1.png", "test/cat/1.png", "train/dog/2.png")
    assert not holds_identities(classes)
    assert "label_unseen_in_training" not in found(classes)
    assert not holds_identities(pictures(tmp_path / "b", "train/good/1.png", "test/good/2.png"))


def test_folders_per_identity_without_cameras(tmp_path: Path) -> None:
    names = [f"{split}/{name}/{row}.png" for split, ids in (("train", "abcdef"), ("test", "xy"))
             for name in ids for row in range(3)]  # fmt: skip
    report = found("reid/baseline", f"data.root={pictures(tmp_path, *names)}")
    assert not kinds(report, "error") | kinds(report, "warning")
    assert "no cameras are known" in report["protocol"][0].what
    assert "label_unseen_in_training" not in report


def test_one_picture_of_everyone_is_an_error(tmp_path: Path) -> None:
    source = pictures(tmp_path, *(f"{name}/1.png" for name in "abcdef"))
    report = found("reid/baseline", f"data.root={source}")
    assert kinds(report, "error") == {"no_splits", "nothing_to_find"}
    assert "every identity has a single picture" in report["nothing_to_find"][0].remedy


def test_one_camera_in_all(tmp_path: Path) -> None:
    source = pictures(
        tmp_path, *(f"{name:04d}_c1s1_{row}.png" for name in range(1, 10) for row in (1, 2))
    )
    report = found("reid/baseline", f"data.root={source}")
    assert kinds(report, "error") == {"nothing_to_find"}
    assert "eval.same_camera=keep" in report["nothing_to_find"][0].remedy
    kept = found("reid/baseline", f"data.root={source}", "eval.same_camera=keep")
    assert not kinds(kept, "error")


def test_a_query_that_lies_in_the_gallery_too(tmp_path: Path) -> None:
    """VeRi-776 has every query in the gallery as well, which the camera rule makes harmless."""
    root = market(tmp_path)
    shutil.copy(root / "query/0008_c1s1_1.png", root / "bounding_box_test/0008_c1s1_1.png")
    assert "duplicate_across_splits" not in found(root)
    kept = found("reid/baseline", f"data.root={root}", "eval.same_camera=keep")
    assert kinds(kept, "error") == {"duplicate_across_splits"}
    report = check_source(str(root), ["data.workers=0"], near_duplicates=False)
    assert report.classes["0008"] == {"query": 1, "gallery": 2}


def test_a_listed_picture_that_is_not_there_is_a_finding(tmp_path: Path) -> None:
    lists = {
        "name_train.txt": [f"{name:04d}_c00{row}_1.png" for name in range(1, 7) for row in (1, 2)],
        "name_query.txt": ["0009_c001_1.png"],
        "name_test.txt": ["0009_c002_1.png", "0009_c003_1.png"],
    }
    folders = dict(zip(lists, ("image_train", "image_query", "image_test"), strict=True))
    for name, lines in lists.items():
        pictures(tmp_path, *(f"{folders[name]}/{line}" for line in lines))
        (tmp_path / name).write_text("\n".join(lines))
    (tmp_path / "image_test/0009_c003_1.png").unlink()
    report = found(tmp_path)
    assert report["missing_file"][0].examples[0].startswith("image_test/0009_c003_1.png")


def test_names_that_do_not_parse_stop_the_check(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="1 of 15 names"):
        found(pictures(market(tmp_path), "query/IMG.png"))


def test_rows_that_nobody_reads_or_that_show_nobody(tmp_path: Path) -> None:
    root = market(tmp_path / "photos")
    split_source("reid/baseline", [f"data.root={root}", "data.workers=0"], tmp_path / "s.csv")
    text = (tmp_path / "s.csv").read_text()
    text = text.replace(",fit,", ",test,", 2).replace(",0008,", ",,", 1)
    (tmp_path / "s.csv").write_text(text)
    report = found("reid/baseline", f"data.manifest={tmp_path / 's.csv'}")
    assert report["no_identity"][0].severity == "error"
    assert report["no_identity"][0].count == 1
    assert report["unread_test"][0].severity == "warning"
    assert report["unread_test"][0].what.startswith("pictures of test are read by nobody")
    assert "gallery or train" in report["unread_test"][0].what


def test_splits_of_identities_are_written_and_read(tmp_path: Path) -> None:
    source = f"data.root={market(tmp_path / 'photos')}"
    text = split_source("reid/baseline", [source, "data.workers=0"], tmp_path / "s.csv")
    assert "fit 8, gallery 1, query 1, val 4" in text
    assert "note: The folder is read as market" in text
    report = found("reid/baseline", f"data.manifest={tmp_path / 's.csv'}")
    assert not kinds(report, "error") | kinds(report, "warning")
    assert report["protocol"][1].what.startswith("protocol of val: each of the 4 pictures")
