"""`train.batch_size: auto`: what is chosen, what is left untouched, and running out of memory."""

from __future__ import annotations

import copy
import math
import mmap
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from sightline.config import load_config
from sightline.data.dataset import Dataset, prepare_dataset
from sightline.data.digits import write_digits
from sightline.data.manifest import Manifest
from sightline.errors import ConfigError, TrainingError
from sightline.experiment.batch_fitting import noise, settle_batch_size
from sightline.tasks import TASKS
from sightline.tasks.classify_config import ClassifyTrainConfig
from sightline.trained import TASK_CONFIGS
from sightline.training.batch_size import (
    Measurement,
    StepMeter,
    candidates,
    fastest,
    resolve_batch_size,
)
from sightline.training.memory_gauge import Gauge
from sightline.training.runtime import random_state
from sightline.training.settings import OutputConfig, PictureTrainConfig, TrainerConfig
from sightline.training.trainer import BaseTrainer

CPU = torch.device("cpu")


class Tiny(BaseTrainer):
    """A trainer that notes what it was given."""

    def training_step(self, batch: Any, batch_idx: int) -> dict[str, Any]:
        return {"loss": self.model(batch).square().mean()}

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.model.parameters(), lr=1e-3)


def tiny(group: int, folder: Path) -> Tiny:
    config = TrainerConfig(accumulate_steps=group)
    return Tiny(nn.Linear(8, 4), None, "cpu", folder, config=config)


def meter(folder: Path, effective: int) -> StepMeter:
    return StepMeter(
        lambda group: tiny(group, folder),
        lambda images: torch.randn(images, 8),
        effective=effective,
        device=CPU,
    )


def fits(images: int, speed: float) -> Measurement:
    return Measurement(images, True, speed, 1.0)


@pytest.mark.parametrize(
    ("effective", "expected"),
    [
        (1, [1]),
        (2, [2]),
        (7, [7]),
        (64, [2, 4, 8, 16, 32, 64]),
        (48, [2, 3, 4, 6, 8, 12, 16, 24, 48]),
    ],
)
def test_candidates_divide_the_step(effective: int, expected: list[int]) -> None:
    assert candidates(effective) == expected


@pytest.mark.parametrize(
    ("effective", "unit", "expected"),
    [(64, 4, [8, 16, 32, 64]), (48, 4, [8, 12, 16, 24, 48]), (12, 6, [12]), (6, 3, [6])],
)
def test_candidates_are_whole_units_and_at_least_two(
    effective: int, unit: int, expected: list[int]
) -> None:
    assert candidates(effective, unit) == expected


@pytest.mark.parametrize(("effective", "unit", "near"), [(64, 3, 63), (4, 4, 8), (1, 2, 4)])
def test_a_step_that_units_cannot_make_is_refused(effective: int, unit: int, near: int) -> None:
    with pytest.raises(ConfigError, match=f"train.effective_batch_size={near}") as found:
        candidates(effective, unit)
    assert found.value.got == f"train.effective_batch_size={effective}"
    assert candidates(near, unit)


def test_a_number_is_not_measured() -> None:
    train = PictureTrainConfig(batch_size=12)
    assert resolve_batch_size(train, lambda images: pytest.fail("measured")) == (train, [])


def test_the_fastest_is_chosen_and_the_step_stays() -> None:
    speeds = {2: 10.0, 4: 50.0, 8: 90.0, 16: 70.0, 32: 60.0}
    train = PictureTrainConfig(batch_size="auto", effective_batch_size=32)
    settled, found = resolve_batch_size(train, lambda images: fits(images, speeds[images]))
    assert (settled.batch_size, settled.accumulate_steps) == (8, 4)
    assert settled.effective_batch_size is None
    assert [one.images for one in found] == [2, 4, 8, 16, 32]
    # What is saved in the run must load again.
    assert PictureTrainConfig(**settled.model_dump()) == settled
    assert PictureTrainConfig(**train.model_dump()) == train


def test_of_equally_fast_batches_the_larger_is_chosen() -> None:
    assert fastest([fits(8, 100.0), fits(16, 98.0), fits(32, 96.0)]).images == 16


def test_sizes_grow_until_one_does_not_fit() -> None:
    tried: list[int] = []

    def measure(images: int) -> Measurement:
        tried.append(images)
        return fits(images, images) if images < 16 else Measurement(images, False, why="full")

    settled, found = resolve_batch_size(PictureTrainConfig(batch_size="auto"), measure)
    assert tried == [2, 4, 8, 16], "nothing larger is tried after the first that does not fit"
    assert (settled.batch_size, settled.accumulate_steps) == (8, 8), "64 images without a word"
    assert "does not fit: full" in str(found[-1])
    assert "images/s" in str(found[0])


def test_nothing_that_fits_is_an_error() -> None:
    train = PictureTrainConfig(batch_size="auto")
    with pytest.raises(TrainingError, match=r"(?s)batch of 2 images.*no room.*img_size"):
        resolve_batch_size(train, lambda images: Measurement(images, False, why="no room"))


def test_keys_that_nothing_would_read_are_errors() -> None:
    with pytest.raises(ValidationError, match="effective_batch_size is used only"):
        PictureTrainConfig(effective_batch_size=64)
    with pytest.raises(ValidationError, match="accumulate_steps is not read"):
        PictureTrainConfig(batch_size="auto", accumulate_steps=2)
    for unused in ({"momentum": 0.5}, {"warmup_factor": 0.1}, {"mode": "min"}):
        with pytest.raises(ValidationError, match=f"{next(iter(unused))} is used only with"):
            PictureTrainConfig(**unused)
    with pytest.raises(ValidationError, match="save_interval is used only with snapshots"):
        OutputConfig(snapshots=False, save_interval=5)
    for wrong in (0, "big", 2.5):
        with pytest.raises(ValidationError):
            PictureTrainConfig(batch_size=wrong)
    assert PictureTrainConfig(batch_size=8, accumulate_steps=2).samples_per_batch == 8
    with pytest.raises(TrainingError, match="not settled"):
        _ = ClassifyTrainConfig(batch_size="auto").samples_per_batch


def test_real_steps_are_measured_and_random_numbers_untouched(tmp_path: Path) -> None:
    torch.manual_seed(3)
    before = copy.deepcopy(random_state())
    measured = [meter(tmp_path, 16)(images) for images in (2, 16)]
    after = random_state()
    assert torch.equal(before["torch"], after["torch"])
    assert (before["python"], before["numpy"]) == (after["python"], after["numpy"])
    assert all(one.fits and one.images_per_s > 0 for one in measured)
    assert not list(tmp_path.iterdir()), "nothing is written"


def test_accumulation_is_part_of_the_measurement(tmp_path: Path) -> None:
    groups: list[int] = []

    def make(group: int) -> Tiny:
        groups.append(group)
        return tiny(group, tmp_path)

    one = StepMeter(make, lambda n: torch.randn(n, 8), effective=8, device=CPU)
    one(4)
    one(8)
    assert groups == [2, 1]


def test_other_errors_are_not_taken_for_a_lack_of_memory(tmp_path: Path) -> None:
    one = StepMeter(
        lambda group: tiny(group, tmp_path),
        lambda n: torch.randn(n, 9),
        effective=4,
        device=CPU,
    )
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        one(4)


def test_what_would_not_fit_by_the_measurements_before_is_not_tried(tmp_path: Path) -> None:
    one = meter(tmp_path, 64)
    one._gauge.limit = 1000.0
    one._grown = [(4, 400.0), (8, 700.0)]
    # The line through both: 700 + 75 for each of 8 more images.
    assert one._expected_growth(16) == pytest.approx(1300.0)
    found = one(16)
    assert not found.fits
    assert "would need" in found.why


def test_too_much_taken_does_not_fit(tmp_path: Path) -> None:
    one = meter(tmp_path, 4)
    one._gauge.limit = 0.0
    one._gauge._start = -1.0
    found = one(4)
    assert not found.fits
    assert math.isnan(found.images_per_s)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_the_gauge_sees_what_is_taken() -> None:
    gauge = Gauge(CPU)
    before = gauge.growth()
    # Much more than what is asked for: meanwhile the system may take back other pages. And pages of
    # its own, since an array may lie in memory that this process had already.
    with mmap.mmap(-1, 256 * 2**20) as taken:
        taken.write(b"1" * len(taken))
        assert gauge.growth() - before > 40 * 2**20
    assert 0 < gauge.limit < math.inf


LIMITED = """
import resource, sys
from pathlib import Path
import torch
from torch import nn
from sightline.training.batch_size import StepMeter, resolve_batch_size
from sightline.training.settings import PictureTrainConfig, TrainerConfig
from sightline.training.trainer import BaseTrainer

torch.set_num_threads(1)

class Wide(BaseTrainer):
    def training_step(self, batch, batch_idx):
        return {"loss": self.model(batch).square().mean()}
    def configure_optimizers(self):
        return torch.optim.SGD(self.model.parameters(), lr=1e-6)

def make(group):
    model = nn.Sequential(nn.Linear(1, 2**20), nn.ReLU(), nn.Linear(2**20, 1))
    return Wide(model, None, "cpu", "ckpt", config=TrainerConfig(accumulate_steps=group))

# One pass first, so that threads and libraries have what they need.
make(1).train_epoch([torch.zeros(2, 1)])
size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + 500 * 2**20, resource.RLIM_INFINITY))
measure = StepMeter(make, lambda n: torch.zeros(n, 1), effective=134, device=torch.device("cpu"))
measure._expected_growth = lambda images: 0.0
train = PictureTrainConfig(batch_size="auto", effective_batch_size=134)
settled, found = resolve_batch_size(train, measure)
for one in found:
    print(one)
print("settled", settled.batch_size, settled.accumulate_steps)
torch.zeros(2**20).sum()
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs RLIMIT_AS")
def test_running_out_of_memory_for_real(tmp_path: Path) -> None:
    """With 4 MiB an image and layer 2 images fit below the limit of 500 MiB, and 67 do not."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", LIMITED],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    *table, last = done.stdout.splitlines()
    assert "does not fit" in table[-1]
    assert "allocate memory" in table[-1]
    assert last == "settled 2 67"


def digits_config(tmp_path: Path, *more: str) -> Any:
    folder = write_digits(tmp_path / "digits")
    return load_config(
        "classify/digits",
        [f"data.digits={folder}", "model.name=test_resnet", "train.img_size=16", *more],
        tasks=TASK_CONFIGS,
    )


def test_a_task_is_measured_with_its_own_trainer_and_leaves_no_trace(tmp_path: Path) -> None:
    config = digits_config(tmp_path, "train.batch_size=auto", "train.effective_batch_size=8")
    dataset = prepare_dataset(config.data, seed=0)
    before = torch.get_rng_state()
    settled, lines = settle_batch_size(config, dataset, CPU)
    assert torch.equal(torch.get_rng_state(), before)
    train = settled.train
    assert train.batch_size * train.accumulate_steps == 8
    assert (train.lr, train.effective_batch_size) == (config.train.lr, None)
    assert config.train.batch_size == "auto", "the configuration given is not changed"
    assert len(lines) == 4
    assert lines[-1].startswith(f"train.batch_size=auto is {train.batch_size},")
    assert settle_batch_size(settled, dataset, CPU) == (settled, [])


def test_noise_looks_like_a_batch_of_the_loader() -> None:
    batch = noise(6, 16, range(3))
    assert batch.images.shape == (6, 3, 16, 16)
    assert batch.images.dtype == torch.uint8
    assert batch.images.is_contiguous(memory_format=torch.channels_last)
    assert set(batch.labels.tolist()) <= {0, 1, 2}
    assert len(set(batch.ids)) == 6
    assert batch.colour is not None
    assert batch.colour.shape == (6, 3, 4)


def test_noise_has_the_models_shape() -> None:
    assert noise(2, (32, 16), [0]).images.shape == (2, 3, 32, 16)


def test_noise_has_the_classes_given_in_units() -> None:
    assert noise(10, 16, [4, 7, 9], unit=2).labels.tolist() == [4, 4, 7, 7, 9, 9, 4, 4, 7, 7]
    assert noise(4, 16, [4, 7, 9]).labels.tolist() == [4, 7, 9, 4]


REID = (
    *("model.name=test_resnet", "model.pretrained=false", "model.last_stride=null"),
    *("train.img_size=32", "train.device=cpu", "train.batch_size=auto", "data.digits=digits"),
)


def identities() -> Dataset:
    """Four identities to fit; one that only the gallery has sorts before them."""
    rows = [("a", "gallery"), ("a", "query"), *[(f"p{n // 3}", "fit") for n in range(12)]]
    names = [f"{n}.png" for n in range(len(rows))]
    return Dataset(
        Manifest.build(
            Path(),
            id=names,
            path=names,
            label=[who for who, _ in rows],
            split=[split for _, split in rows],
        )
    )


@pytest.mark.parametrize("images", [2, 3, 4])
def test_batches_of_identities_are_whole_and_of_those_that_are_learnt(images: int) -> None:
    config = load_config(
        "reid/digits",
        [*REID, f"sampler.images_per_identity={images}", "train.effective_batch_size=12"],
        tasks=TASK_CONFIGS,
    )
    dataset = identities()
    settled, _ = settle_batch_size(config, dataset, CPU)
    train = settled.train
    assert train.batch_size * train.accumulate_steps == 12
    assert train.batch_size % images == 0
    assert train.batch_size >= 2 * images
    # What is saved in the run loads again.
    assert type(settled)(**settled.model_dump()) == settled


@pytest.mark.parametrize(
    ("settings", "unit"),
    [
        ((), 1),
        (("loss.kind=triplet", "loss.scale=64.0"), 4),
        (("sampler.samples_per_class=3",), 3),
        (("sampler.kind=shuffled",), 1),
    ],
)
def test_retrieval_says_what_its_batches_are_made_of(settings: tuple[str, ...], unit: int) -> None:
    config = load_config("retrieve/digits", list(settings), tasks=TASK_CONFIGS)
    assert TASKS["retrieve"].batch_unit(config) == unit


def test_training_with_auto_is_training_with_the_numbers_it_found(tmp_path: Path) -> None:
    from sightline.config import read_yaml
    from sightline.experiment import train

    keys = ["train.epochs=1", "train.warmup_epochs=0", "data.val_fraction=0.4",
            "data.test_fraction=0.4", "data.cache=off"]  # fmt: skip
    auto = digits_config(tmp_path, *keys, "train.batch_size=auto", "train.effective_batch_size=32")
    first = train(auto, command=["test"])
    saved, _ = read_yaml(first.config_file.read_text(), "config.yaml")
    numbers = saved["train"]
    assert numbers["batch_size"] * numbers["accumulate_steps"] == 32
    assert numbers["effective_batch_size"] is None
    log = Path(first.info["log"]).read_text()
    assert "train.batch_size=auto is" in log
    same = digits_config(
        tmp_path,
        *keys,
        f"train.batch_size={numbers['batch_size']}",
        f"train.accumulate_steps={numbers['accumulate_steps']}",
    )
    second = train(same, command=["test"])
    states = [
        torch.load(run.ckpt / "latest_model.pth", weights_only=True)["model"]
        for run in (first, second)
    ]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
