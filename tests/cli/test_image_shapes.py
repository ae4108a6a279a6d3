"""Training, judging and answering with pictures that are no squares."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

TALL = "train.img_size=[32,16]"


def test_a_classifier_of_tall_pictures_from_end_to_end(pictures: Path, cli: Any) -> None:
    done, info = cli.train(
        *(f"data.root={pictures}", TALL, "train.epochs=8", "data.fit=stretch"),
        *("data.augment.preset=reid", "train.cutmix=1", "train.mixup=0.2"),
        "train.mix_probability=0.5",
    )
    run = Path(info["path"])
    assert "img_size: [32, 16]" in (run / "config.yaml").read_text(encoding="utf-8")
    assert max(row["macro_f1"] for row in cli.rows(run) if row["split"] == "val") > 0.6, done.out
    assert cli("evaluate", "--tta", "flip").code == 0
    one = next((pictures / "1_one").iterdir())
    assert cli("predict", "latest", one, "--out", "answer.csv").code == 0
    assert cli.table("answer.csv")[0]["prediction"] == "1_one"
    turned = cli("predict", "latest", one, "--out", "turned.csv", "--tta", "essential")
    screen = cli.screen(turned, code=2)
    assert "turn pictures by 90 degrees" in screen
    assert "train.img_size=[32,16]" in screen


def test_search_with_tall_pictures(pictures: Path, cli: Any) -> None:
    done = cli("train", *cli.searching, f"data.root={pictures}", TALL)
    assert done.code == 0, done.said
    assert cli("index", "latest", pictures, "--out", "gallery").code == 0
    one = next((pictures / "1_one").iterdir())
    assert cli("predict", "latest", one, "--out", "near.csv", "--index", "gallery").code == 0
    assert cli.table("near.csv")[0]["prediction"] == "1_one"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (("train.img_size=[32]",), "train.img_size[1]: this key is required"),
        (("train.img_size=[32,4]",), "train.img_size[1]: expected an integer >= 8; got 4"),
        ((TALL, "data.augment.preset=document"), "needs a square train.img_size, got [32,16]"),
        ((TALL, "infer.tta=comprehensive"), "needs a square train.img_size, got [32,16]"),
        (("train.img_size=[32,20]", "model.name=test_vit"), "set train.img_size=[32,16]"),
    ],
)
def test_what_tall_pictures_cannot_have_is_said_before_training(
    pictures: Path, cli: Any, settings: tuple[str, ...], said: str
) -> None:
    tall = cli("train", "classify/digits", *cli.tiny, f"data.root={pictures}", *settings)
    assert said in cli.screen(tall, code=2)


def test_anomaly_detection_sees_squares(pictures: Path, cli: Any) -> None:
    tall = cli("train", "anomaly/patchcore", f"data.root={pictures}", TALL)
    assert "train.img_size: expected an integer >= 8; got [32, 16]" in cli.screen(tall, code=2)
