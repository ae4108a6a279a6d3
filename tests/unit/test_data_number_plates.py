"""Number plates that four cameras see: the same bytes every time, in the layout of Market-1501."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sightline.data.dataset import Dataset, prepare_dataset
from sightline.data.number_plates import (
    CAMERAS,
    COUNT,
    EACH,
    HEIGHT,
    PLATES,
    WIDTH,
    write_number_plates,
)
from sightline.data.reid_protocol import reid_protocol
from sightline.data.reid_settings import ReidDataConfig
from sightline.errors import DataError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_number_plates(tmp_path_factory.mktemp("plates") / "made")


@pytest.fixture(scope="module")
def dataset(folder: Path) -> Dataset:
    return prepare_dataset(ReidDataConfig(digits=folder, workers=0), seed=3)


def test_every_plate_is_seen_twice_by_every_camera(dataset: Dataset) -> None:
    samples = dataset.manifest
    assert len(samples) == COUNT == PLATES * CAMERAS * EACH
    pairs = np.stack([samples.label.codes, samples.camera.codes])
    counts = np.unique(pairs, axis=1, return_counts=True)[1]
    assert counts.tolist() == [EACH] * (PLATES * CAMERAS)
    assert (str(samples.label.names[0]), str(samples.label.names[-1])) == ("0001", "0099")


def test_test_plates_are_others_and_every_query_has_a_match(dataset: Dataset) -> None:
    samples = dataset.manifest
    learnt = set(samples.label.codes[samples.rows("fit", "val")].tolist())
    tested = set(samples.label.codes[samples.rows("query", "gallery")].tolist())
    assert not learnt & tested
    assert (len(learnt), len(tested)) == (66, 33)
    for split in ("val", "test"):
        protocol = reid_protocol(samples, split, same_camera="auto")
        assert protocol.filters_camera
        assert protocol.matched == len(protocol.queries) > 0


def test_pictures_are_all_different_and_cameras_differ(folder: Path, dataset: Dataset) -> None:
    samples = dataset.manifest
    pictures = []
    for row in range(len(samples)):
        with Image.open(samples.file(row)) as image:
            assert (image.size, image.mode) == ((WIDTH, HEIGHT), "RGB")
            pictures.append(np.asarray(image))
    contents = {picture.tobytes() for picture in pictures}
    assert len(contents) == COUNT
    values = np.stack(pictures).astype(np.float64)
    means = np.stack(
        [values[samples.camera.codes == camera].mean((0, 1, 2)) for camera in range(4)]
    )
    gaps = np.abs(means[:, None] - means[None]).max(-1)
    assert gaps[~np.eye(4, dtype=bool)].min() > 15


def test_the_same_bytes_every_time_and_nothing_is_written_twice(
    folder: Path, tmp_path: Path
) -> None:
    again = write_number_plates(tmp_path / "again")

    def content(root: Path) -> dict[str, str]:
        files = sorted(root.glob("*/*.png"))
        return {
            file.relative_to(root).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
            for file in files
        }

    assert content(again) == content(folder)
    before = (again / "query").stat().st_mtime_ns
    assert write_number_plates(again) == again
    assert (again / "query").stat().st_mtime_ns == before
    next((again / "query").iterdir()).unlink()
    with pytest.raises(DataError, match="does not hold the number plates"):
        write_number_plates(again)
