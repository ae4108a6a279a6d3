"""Submissions: the sample's ids and order, the images behind them, and what stands beside."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sightline.config import load_config
from sightline.data.readers import read_manifest
from sightline.data.settings import DataConfig
from sightline.errors import ConfigError, DataError, UsageError
from sightline.experiment import images_of, read_dataset
from sightline.metrics.selective import choose_threshold
from sightline.prediction import predict_files
from sightline.reports.prediction_table import read_prediction_table
from sightline.runs import RunFolder
from sightline.submission import _free_name, write_submission
from sightline.tasks.classification_result import softmax
from sightline.trained import TASK_CONFIGS
from sightline.trained.acceptance import find_acceptance, with_bins
from sightline.trained.predictor import create_predictor

IDS = ("scan.v2", "b/c", "0007.png", "d")


@pytest.fixture(scope="session")
def table(digit_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """train.csv whose classes are words, and whose pictures lie in another folder."""
    base = tmp_path_factory.mktemp("table")
    rows = [
        (file.relative_to(digit_folder).as_posix(), file.parent.name.partition("_")[2])
        for file in sorted(digit_folder.glob("*/*.png"))
    ]
    text = "".join(f"{one},{name}\n" for one, name in rows)
    (base / "train.csv").write_text(f"ID,target\n{text}")
    return base / "train.csv"


@pytest.fixture
def run(train_tiny: Callable[..., Path], table: Path, digit_folder: Path) -> RunFolder:
    return RunFolder.open(
        train_tiny(
            f"data.train_csv={table}", f"data.image_dir_train={digit_folder}", "train.epochs=3"
        )
    )


@pytest.fixture
def images(digit_folder: Path) -> Path:
    """The pictures of IDS, under file names that fit."""
    folder = Path("test")
    (folder / "b").mkdir(parents=True)
    names = ("scan.v2.png", "b/c.png", "0007.png", "d.png")
    for name, source in zip(names, sorted(digit_folder.glob("*/*.png"))[::20], strict=False):
        shutil.copy2(source, folder / name)
    return folder


def sample(*ids: str, header: str = "ID,target", delimiter: str = ",") -> Path:
    lines = [header, *(f"{one}{delimiter}?" for one in ids or IDS)]
    Path("sample.csv").write_text("\n".join(lines) + "\n")
    return Path("sample.csv")


def submit(run: RunFolder, file: Path, images: Path | None, **options: Any) -> tuple[Path, Any]:
    said: list[str] = []
    options = {"device": "cpu", "say": said.append, **options}
    return write_submission(run, sample=file, images=images, **options), said


def rows_of(file: Path, delimiter: str = ",") -> list[list[str]]:
    with file.open(newline="") as handle:
        return list(csv.reader(handle, delimiter=delimiter))


def test_submission_has_header_ids_and_order_of_the_sample(run: RunFolder, images: Path) -> None:
    target, said = submit(run, sample(), images)
    header, *rows = rows_of(target)
    assert header == ["ID", "target"]
    assert [row[0] for row in rows] == list(IDS)
    assert {row[1] for row in rows} <= {"zero", "one", "seven"}
    files = [images / name for name in ("scan.v2.png", "b/c.png", "0007.png", "d.png")]
    _, predicted = predict_files(run, files, device="cpu")
    assert [row[1] for row in rows] == [row[1] for row in predicted]
    assert said[-2:] == [
        f"submission {target} (4 rows)",
        f"probabilities {target.with_suffix('')}.probabilities.csv",
    ]


def test_probabilities_stand_beside(run: RunFolder, images: Path) -> None:
    target, _ = submit(run, sample(), images, out=Path("out/mine.csv"))
    assert target == Path("out/mine.csv")
    beside = Path("out/mine.probabilities.csv")
    header, *rows = rows_of(beside)
    assert header == [
        "id",
        "prediction",
        "confidence",
        "bin",
        "prob_one",
        "prob_seven",
        "prob_zero",
    ]
    for row in rows:
        low, high = map(float, row[3].split("-"))
        assert low <= float(row[2]) <= high
        assert float(row[2]) == max(map(float, row[4:]))
    table = read_prediction_table(beside)
    assert (table.ids, table.accepted) == (list(IDS), None)


def test_default_name_is_the_runs_and_is_never_taken_twice(run: RunFolder, images: Path) -> None:
    first, _ = submit(run, sample(), images)
    stamp = f"{run.created:%Y%m%d_%H%M%S}"
    assert first == Path(f"submissions/{run.created:%Y%m%d}/digits_{stamp}_basic.csv")
    content = first.read_bytes()
    second, _ = submit(run, sample("d", "0007.png", "b/c", "scan.v2"), images)
    assert second.name == f"digits_{stamp}_basic_2.csv"
    assert first.read_bytes() == content


def test_name_tells_of_several_members_and_of_the_runs_day(run: RunFolder) -> None:
    predictor = create_predictor(run, device="cpu")
    info = json.loads(json.dumps(run.info))
    info["times"]["created"] = datetime(2026, 1, 2, 23, 59, 58).astimezone().isoformat()
    long_ago = RunFolder(run.path, info)
    Path("submissions/20260102").mkdir(parents=True)
    several = replace(predictor, run=long_ago, members=predictor.members * 2)
    assert _free_name(several) == Path(
        "submissions/20260102/digits_ensemble_20260102_235958_basic.csv"
    )


def test_other_columns_and_delimiters_stay(run: RunFolder, images: Path) -> None:
    lines = ["note;target;ID", *(f"n{place};?;{one}" for place, one in enumerate(IDS))]
    Path("sample.csv").write_text("\n".join(lines) + "\n")
    target, _ = submit(run, Path("sample.csv"), images)
    header, *rows = rows_of(target, ";")
    assert header == ["note", "target", "ID"]
    assert [row[0] for row in rows] == ["n0", "n1", "n2", "n3"]
    assert [row[2] for row in rows] == list(IDS)
    target, _ = submit(run, sample(header="file,answer"), images)
    assert rows_of(target)[0] == ["file", "answer"]


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ((*IDS, "nobody", "x.png"), r"2 of 6 pictures are not in test[\s\S]*line 6: 'nobody'"),
        (("d", "0007.png"), r"2 of 4 images are not in the sample[\s\S]*b/c.png, scan.v2.png"),
        ((*IDS, "d"), r"1 rows repeat an id[\s\S]*line 6: 'd'"),
        ((*IDS, "d.png"), r"1 rows lead to a picture that an earlier row has"),
        ((*IDS, ""), "1 rows have no id"),
    ],
)
def test_ids_and_images_must_match(
    ids: tuple[str, ...], message: str, run: RunFolder, images: Path
) -> None:
    with pytest.raises(DataError, match=message):
        submit(run, sample(*ids), images)
    assert not list(Path().glob("submissions/*/*.csv")), "no half submission is left"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ID,target\n", "a header and no rows"),
        ("ID,a,b\n1,2,3\n", "does not show where the answers go"),
        ("ID\n1\n", "does not show where the answers go"),
        ("", "is empty"),
    ],
)
def test_sample_that_cannot_be_followed(
    text: str, message: str, run: RunFolder, images: Path
) -> None:
    Path("sample.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        submit(run, Path("sample.csv"), images)


def test_images_beside_the_sample_may_be_more(run: RunFolder, images: Path) -> None:
    """Nobody said that this folder holds the test alone."""
    beside = images / "sample.csv"
    beside.write_text("ID,target\nd,?\n0007,?\n")
    target, said = submit(run, beside, None)
    assert [row[0] for row in rows_of(target)[1:]] == ["d", "0007"]
    assert said[0] == "note: 2 images in test have no row in the sample and are passed over"


def test_configured_folder_is_used(
    run: RunFolder, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = run.config_file.read_text()
    assert "image_dir_test: null" in text
    try:
        place = f"image_dir_test: {images.absolute()}"
        run.config_file.write_text(text.replace("image_dir_test: null", place))
        Path("elsewhere").mkdir()
        file = Path(shutil.copy(sample(), "elsewhere/sample.csv"))
        target, _ = submit(run, file, None)
        assert len(rows_of(target)) == 5
        with pytest.raises(DataError, match=r"1 of 4 images[\s\S]*scan.v2.png"):
            submit(run, sample(*IDS[1:]), None)
    finally:
        run.config_file.write_text(text)


def test_out_must_be_csv_and_what_it_replaces_is_said(run: RunFolder, images: Path) -> None:
    with pytest.raises(UsageError, match="A submission is a CSV"):
        submit(run, sample(), images, out=Path("a.json"))
    Path("a.csv").write_text("old")
    _, said = submit(run, sample(), images, out=Path("a.csv"))
    assert said[0] == "note: a.csv is replaced"


def test_answers_never_replace_what_they_answer(run: RunFolder, images: Path) -> None:
    for name, out in (("a.csv", "a.csv"), ("b.probabilities.csv", "./b.csv")):
        file = Path(shutil.copy2(sample(), name))
        with pytest.raises(UsageError, match="replace the file that asks"):
            submit(run, file, images, out=Path(out))
        assert file.read_text() == sample().read_text()
    assert not Path("b.csv").exists()


def test_nothing_is_written_where_half_could_not_be(run: RunFolder, images: Path) -> None:
    Path("a.probabilities.csv").mkdir()
    with pytest.raises(UsageError, match="is a folder"):
        submit(run, sample(), images, out=Path("a.csv"))
    assert not Path("a.csv").exists()


def test_list_of_images_may_be_any_table(run: RunFolder, images: Path) -> None:
    (images / "list.csv").write_bytes(
        '\ufefffile;note\r\nd.png;x\r\n\r\n b/c.png ;"y;z"\r\n'.encode()
    )
    _, rows = predict_files(run, [images / "list.csv"])
    assert [row[0] for row in rows] == ["test/d.png", "test/b/c.png"]
    (images / "list.csv").write_text("file,note\nd.png\n")
    with pytest.raises(DataError, match="Line 2 of"):
        predict_files(run, [images / "list.csv"])


def test_inference_has_its_log(run: RunFolder, images: Path) -> None:
    logs = Path(run.info["log"]).parents[2] if "log" in run.info else None
    submit(run, sample(), images, say=print)
    found = sorted((logs or Path("logs")).glob(f"*/infer/infer_*_{run.id}_basic.log"))
    assert len(found) == 1
    text = found[0].read_text()
    assert "[EXIT] INFER SUCCESS code=0" in text
    assert "submission submissions/" in text


def test_abstaining_follows_the_validation(run: RunFolder, images: Path) -> None:
    predictor = create_predictor(run, tta="flip", device="cpu")
    samples = read_dataset(run, predictor.config).part("val")
    used, _ = predictor.answer(samples, lambda r, c: images_of(r, c)[0])
    chances = softmax(used["logits"].astype(np.float64))
    right = chances.argmax(axis=1) == used["targets"]
    expected = choose_threshold(chances.max(axis=1).round(6), right, 0.2)
    found = find_acceptance(predictor, 0.2)
    assert found == expected
    target, said = submit(run, sample(), images, tta="flip", accept_accuracy=0.2)
    line = next(text for text in said if text.startswith("accepted from confidence"))
    for part in (f"{found.threshold:.6f}", f"{found.coverage:.1%}", f"of {found.n} ", "20.0%"):
        assert part in line
    rows = rows_of(target.with_name(f"{target.stem}.probabilities.csv"))
    place = rows[0].index("accepted")
    assert rows[0][place - 2 :][:3] == ["confidence", "bin", "accepted"]
    for row in rows[1:]:
        assert row[place] == str(float(row[place - 2]) >= found.threshold)
    with pytest.raises(DataError, match="No confidence guarantees 99"):
        submit(run, sample(), images, accept_accuracy=0.99)


def test_folds_abstain_by_what_they_did_not_learn(
    train_tiny: Callable[..., Path], digit_folder: Path
) -> None:
    run = RunFolder.open(
        train_tiny(f"data.root={digit_folder}", "data.folds=2", "data.valid_fold=all")
    )
    predictor = create_predictor(run, device="cpu")
    samples = read_dataset(run, predictor.config).part("fit")
    used, _ = predictor.answer(samples, lambda r, c: images_of(r, c)[0], held_out=True)
    chances = softmax(used["logits"].astype(np.float64))
    right = chances.argmax(axis=1) == used["targets"]
    found = find_acceptance(predictor, 0.15)
    assert found == choose_threshold(chances.max(axis=1).round(6), right, 0.15)
    assert found.n == run.info["data"]["train"] == len(samples)


def test_run_without_validation_cannot_abstain(run: RunFolder) -> None:
    copy = Path(shutil.copytree(run.path, run.path.with_name(f"{run.path.name}v")))
    try:
        text = (copy / "splits.csv").read_text()
        (copy / "splits.csv").write_text(text.replace(",val,", ",fit,"))
        with pytest.raises(DataError, match="no validation samples"):
            find_acceptance(create_predictor(RunFolder.open(copy), device="cpu"), 0.5)
    finally:
        shutil.rmtree(copy)


def test_abstaining_can_be_configured_and_turned_off(run: RunFolder, images: Path) -> None:
    text = run.config_file.read_text()
    try:
        run.config_file.write_text(
            text.replace("accept_accuracy: null", "accept_accuracy: 0.2").replace(
                "tta: none", "tta: flip"
            )
        )
        columns, _ = predict_files(run, [images], device="cpu", say=lambda line: None)
        assert "accepted" in columns
        assert [create_predictor(run, tta=one).tta for one in (None, "none")] == ["flip", "none"]
        columns, _ = predict_files(run, [images], accept_accuracy=0, device="cpu")
        assert "accepted" not in columns
    finally:
        run.config_file.write_text(text)


def test_answer_at_the_threshold_is_given() -> None:
    table = (["id", "prediction", "confidence"], [["a", "x", 0.5], ["b", "x", 0.499999]])
    columns, rows = with_bins(table, 0.5)
    assert columns == ["id", "prediction", "confidence", "bin", "accepted"]
    assert [row[3:] for row in rows] == [["0.5-0.6", True], ["0.4-0.5", False]]


def test_test_folder_belongs_to_a_table() -> None:
    with pytest.raises(ConfigError, match=r"image_dir_test is not read with data\.root"):
        load_config("classify/basic", ["data.root=a", "data.image_dir_test=b"], tasks=TASK_CONFIGS)


def test_sample_and_its_folder_are_looked_for_before_training(table: Path) -> None:
    folder = table.parent
    for key, message in (("sample_csv", "cannot be opened"), ("image_dir_test", "does not exist")):
        config = DataConfig.model_construct(
            **{**dict(DataConfig()), "train_csv": table, key: folder / "nowhere"}
        )
        with pytest.raises(DataError, match=message) as caught:
            read_manifest(config)
        assert "relative to that file" in str(caught.value)
