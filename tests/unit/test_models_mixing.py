"""Mixing: timm is the oracle of images, targets and loss; draws are functions of their names."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError
from timm.data.mixup import Mixup
from timm.loss import SoftTargetCrossEntropy
from torch import Tensor
from torch.nn import functional as F

from sightline.config import load_config
from sightline.data.dataset import Dataset
from sightline.data.images import Images
from sightline.data.loading import Batch, ImageLoader
from sightline.data.manifest import Manifest
from sightline.data.presets import PRESETS
from sightline.losses.smoothed_cross_entropy import SmoothedCrossEntropy
from sightline.models.classifier import create_classifier
from sightline.models.mixing import Mix, Mixing, cut_out, mixed
from sightline.models.settings import ModelConfig
from sightline.random_numbers import generator
from sightline.tasks import TASKS
from sightline.tasks.classification import ClassificationTrainer
from sightline.tasks.classify_config import ClassifyTrainConfig
from sightline.training.callbacks import Callback
from sightline.training.hooks import StepInfo

SIZE, CLASSES, SMOOTHING = 32, 4, 0.1


def batch_of(count: int = 6, size: int = SIZE) -> tuple[Tensor, Tensor]:
    drawn = torch.Generator().manual_seed(0)
    labels = torch.randint(0, CLASSES, (count,), generator=drawn)
    return torch.randn(count, 3, size, size, generator=drawn), labels


@pytest.fixture
def global_numpy() -> Iterator[Any]:
    """timm draws from numpy's global state, which is put back."""
    state = np.random.get_state()  # noqa: NPY002
    yield np.random
    np.random.set_state(state)  # noqa: NPY002


def by_timm(images: Tensor, labels: Tensor, share: float, *, cutmix: bool) -> tuple[Tensor, Tensor]:
    oracle = Mixup(1.0, 1.0, label_smoothing=SMOOTHING, num_classes=CLASSES)
    oracle._params_per_batch = lambda: (share, cutmix)
    result: tuple[Tensor, Tensor] = oracle(images.clone(), labels)
    return result


def assert_agree(mix: Mix, images: Tensor, labels: Tensor, expected: tuple[Tensor, Tensor]) -> None:
    torch.testing.assert_close(mixed(images, mix.shares), expected[0])
    targets = mix.targets(labels, CLASSES)
    smoothed = targets * (1 - SMOOTHING) + SMOOTHING / CLASSES
    torch.testing.assert_close(smoothed, expected[1])
    logits = torch.randn(len(labels), CLASSES, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(
        SmoothedCrossEntropy(SMOOTHING)(logits, targets),
        SoftTargetCrossEntropy()(logits, expected[1]),
    )
    weights = torch.tensor([1.0, 2.0, 0.5, 3.0])
    both = [F.cross_entropy(logits, t, weights, reduction="none") for t in (labels, labels.flip(0))]
    total = mix.share * both[0] + (1 - mix.share) * both[1]
    torch.testing.assert_close(
        SmoothedCrossEntropy(0.0, weights)(logits, targets),
        total.sum() / (targets @ weights).sum(),
    )


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.9, 1.0])
def test_mixup_matches_timm(share: float) -> None:
    images, labels = batch_of()
    mix = Mix(torch.full((SIZE, SIZE), share), share)
    assert_agree(mix, images, labels, by_timm(images, labels, share, cutmix=False))


@pytest.mark.parametrize("share", [0.0, 0.13, 0.5, 0.81, 0.999])
@pytest.mark.parametrize("seed", range(6))
def test_cutmix_matches_timm(share: float, seed: int, global_numpy: Any) -> None:
    images, labels = batch_of()
    global_numpy.seed(seed)
    row, column = global_numpy.randint(0, SIZE), global_numpy.randint(0, SIZE)
    mix = cut_out(share, (row + 0.5) / SIZE, (column + 0.5) / SIZE, SIZE)
    global_numpy.seed(seed)
    expected = by_timm(images, labels, share, cutmix=True)
    assert_agree(mix, images, labels, expected)
    assert torch.equal(mixed(images, mix.shares), expected[0]), "pixels are taken as they are"
    assert mix.share == pytest.approx(mix.shares.double().mean().item())


def test_the_hole_of_a_tall_image_has_its_shape() -> None:
    """Yun et al. 2019, equation 2: both sides are cut by the root of the share."""
    shares = torch.ones(40, 20)
    shares[10:30, 5:15] = 0
    mix = cut_out(0.75, 0.5, 0.5, (40, 20))
    assert torch.equal(mix.shares, shares)
    assert mix.share == 0.75
    corner = cut_out(0.75, 0.0, 1.0, (40, 20))
    assert corner.shares[:10, 15:].sum() == 0
    assert corner.shares.sum() == 40 * 20 - 50
    assert corner.share == pytest.approx(1 - 50 / 800)
    spread = Mixing(mixup=0.4).draw(generator(0, 1, "a"), (40, 20))
    assert spread is not None
    assert spread.shares.shape == (40, 20)


def test_the_middle_of_an_odd_batch_stays_as_it_is() -> None:
    images, labels = batch_of(5)
    mix = Mix(torch.full((SIZE, SIZE), 0.3), 0.3)
    torch.testing.assert_close(mixed(images, mix.shares)[2], images[2])
    targets = mix.targets(labels, CLASSES)
    torch.testing.assert_close(targets[2], F.one_hot(labels[2], CLASSES).float())
    torch.testing.assert_close(targets.sum(1), torch.ones(5))


@pytest.mark.parametrize("channels_last", [False, True])
def test_memory_format_and_input_are_kept(channels_last: bool) -> None:
    form = torch.channels_last if channels_last else torch.contiguous_format
    images = batch_of()[0].contiguous(memory_format=form)
    before = images.clone()
    result = mixed(images, torch.full((SIZE, SIZE), 0.7))
    assert result.is_contiguous(memory_format=form)
    assert result.dtype is torch.float32
    assert torch.equal(images, before)


def draws(mixing: Mixing, count: int = 2000) -> list[Mix | None]:
    return [mixing.draw(generator(0, 1, str(number)), 16) for number in range(count)]


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_mixup_shares_have_a_beta_distribution(alpha: float) -> None:
    shares = np.array([mix.share for mix in draws(Mixing(mixup=alpha)) if mix])
    assert len(shares) == 2000
    assert shares.mean() == pytest.approx(0.5, abs=0.03)
    assert shares.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.1)


def test_cutmix_cuts_one_rectangle_of_the_area_drawn() -> None:
    kept = []
    for mix in draws(Mixing(cutmix=1.0), 500):
        assert mix is not None
        hole = mix.shares == 0
        assert ((mix.shares == 1) | hole).all()
        rows, columns = hole.any(1).nonzero().flatten(), hole.any(0).nonzero().flatten()
        assert hole.sum() == len(rows) * len(columns)
        for places in (rows, columns):
            assert len(places) == 0 or places[-1] - places[0] + 1 == len(places)
        assert mix.share == pytest.approx(mix.shares.mean().item())
        kept.append(mix.share)
    # What a hole loses over an edge is kept: more than the half that Beta(1, 1) has.
    assert 0.55 < np.mean(kept) < 0.8
    assert min(kept) < 0.15


def test_both_ways_take_turns_and_some_batches_stay() -> None:
    found = draws(Mixing(mixup=1.0, cutmix=1.0, probability=0.6))
    cut = sum(mix is not None and bool((mix.shares == mix.shares.round()).all()) for mix in found)
    blended = sum(mix is not None for mix in found) - cut
    assert cut / 2000 == pytest.approx(0.3, abs=0.04)
    assert blended / 2000 == pytest.approx(0.3, abs=0.04)
    assert draws(Mixing(), 5) == [None] * 5


def test_a_classifier_mixes_after_normalisation() -> None:
    config = ModelConfig(name="test_resnet", pretrained=False)
    model = create_classifier(config, CLASSES, img_size=SIZE).eval()
    drawn = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (4, 3, SIZE, SIZE), dtype=torch.uint8, generator=drawn)
    colour = torch.eye(3, 4).repeat(4, 1, 1) * torch.tensor([0.5, 1, 1.5, 2])[:, None, None]
    shares = torch.rand(SIZE, SIZE, generator=drawn)
    with torch.no_grad():
        values = model.normalize(images, colour)
        blend = shares * values + (1 - shares) * values.flip(0)
        expected = model.head(model.backbone(blend))
        torch.testing.assert_close(model(images, colour, shares), expected, atol=1e-4, rtol=1e-4)
        alone = torch.ones(SIZE, SIZE)
        torch.testing.assert_close(model(images, colour, alone), model(images, colour))


def test_the_probability_goes_with_a_way_of_mixing() -> None:
    with pytest.raises(ValidationError, match="used only with mixup or cutmix"):
        ClassifyTrainConfig(mix_probability=0.5)
    assert ClassifyTrainConfig(mix_probability=0.5, cutmix=1.0).mix_probability == 0.5


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Images:
    root = tmp_path_factory.mktemp("pictures")
    names = [f"{number:02d}.png" for number in range(21)]
    for number, name in enumerate(names):
        pixels = np.random.default_rng(number).integers(0, 256, (36, 36, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / name)
    labels = ["abcd"[number % CLASSES] for number in range(21)]
    return Images(Manifest.build(root, id=names, path=names, label=labels), 36)


def loader(images: Images) -> ImageLoader:
    return ImageLoader(images, size=SIZE, batch_size=5, augment=PRESETS["basic"], seed=1)


def trainer(
    folder: Path, *settings: str, callbacks: tuple[Callback, ...] = ()
) -> ClassificationTrainer:
    config: Any = load_config(
        "classify/digits",
        [
            "data.digits=digits", "model.name=test_resnet", "train.device=cpu",
            "train.warmup_epochs=0", "train.epochs=2", "train.label_smoothing=0.1",
            *settings,
        ],
        tasks={key: task.config for key, task in TASKS.items()},
    )  # fmt: skip
    torch.manual_seed(0)
    labels = list("aaaaaabbbbbcccccddddd")
    names = [str(number) for number in range(len(labels))]
    samples = Manifest.build(
        Path(), id=names, path=names, label=labels, split=["fit"] * len(labels)
    )
    task: Any = TASKS["classify"]
    made: ClassificationTrainer = task.create_trainer(
        config,
        task.create_model(config, list("abcd"), trained=False),
        dataset=Dataset(samples),
        steps_per_epoch=4,
        checkpoint_dir=folder,
        callbacks=callbacks,
    )
    return made


BOTH = ("train.mixup=0.4", "train.cutmix=1.0", "train.mix_probability=0.8")


def loss_of(one: ClassificationTrainer, batch: Batch, index: int) -> Tensor:
    loss: Tensor = one.training_step(batch, index)["loss"]
    return loss


def test_a_step_trains_on_mixed_images_and_labels(images: Images, tmp_path: Path) -> None:
    batch = next(iter(loader(images)))
    one = trainer(tmp_path, *BOTH, "project.seed=5")
    one.model.eval()
    losses = [loss_of(one, batch, index).item() for index in range(12)]
    for index, loss in enumerate(losses):
        random = generator(5, 1, f"mixing of batch {index} in process 0")
        mix = Mixing(0.4, 1.0, 0.8).draw(random, SIZE)
        share = 1.0 if mix is None else mix.share
        shares = torch.ones(SIZE, SIZE) if mix is None else mix.shares
        logits = one.model(batch.images, batch.colour, shares)
        parts = [
            F.cross_entropy(logits, labels, label_smoothing=0.1)
            for labels in (batch.labels, batch.labels.flip(0))
        ]
        expected = share * parts[0] + (1 - share) * parts[1]
        assert loss == pytest.approx(expected.item(), rel=1e-5)
    assert len(set(losses)) > 8
    one.progress.epoch = 1
    assert loss_of(one, batch, 0).item() != losses[0], "another epoch mixes otherwise"


def test_batches_of_one_and_validation_are_not_mixed(images: Images, tmp_path: Path) -> None:
    batch = next(iter(loader(images)))
    assert batch.colour is not None
    single = Batch(batch.images[:1], batch.labels[:1], batch.ids[:1], batch.colour[:1])
    plain, mixing = trainer(tmp_path), trainer(tmp_path, "train.cutmix=1.0")
    for one in (plain, mixing):
        one.model.eval()
    assert loss_of(mixing, single, 0) == loss_of(plain, single, 0)
    assert loss_of(mixing, batch, 0) != loss_of(plain, batch, 0)
    for key, value in plain.validation_step(batch, 0).items():
        other = mixing.validation_step(batch, 0)[key]
        assert other == value if isinstance(value, list) else torch.equal(other, value)


def test_mixing_draws_nothing_global(images: Images, tmp_path: Path) -> None:
    one = trainer(tmp_path, *BOTH)
    batch = next(iter(loader(images)))
    before = torch.get_rng_state()
    legacy = copy.deepcopy(np.random.mtrand._rand.get_state(legacy=False))
    for index in range(3):
        loss_of(one, batch, index)
    assert torch.equal(torch.get_rng_state(), before)
    np.testing.assert_equal(np.random.mtrand._rand.get_state(legacy=False), legacy)


class KeepStep(Callback):
    """Keeps the checkpoint of one step."""

    def __init__(self, folder: Path, step: int) -> None:
        self.folder, self.step = folder, step

    def on_step(self, info: StepInfo) -> None:
        if info.step == self.step + 1:
            shutil.copy(self.folder / "latest_model.pth", self.folder / "kept.pth")


@pytest.mark.parametrize("step", [2, 5])
def test_a_resumed_run_mixes_as_if_it_had_never_stopped(
    images: Images, tmp_path: Path, step: int
) -> None:
    settings = (*BOTH, "output.save_every_steps=1")
    whole = trainer(tmp_path, *settings, callbacks=(KeepStep(tmp_path, step),))
    whole.fit(loader(images), None, num_epochs=2)
    rest = trainer(tmp_path / "rest", *settings)
    rest.load_checkpoint(tmp_path / "kept.pth")
    assert rest.progress.step == step
    rest.fit(loader(images), None, num_epochs=2)
    for name, value in whole.model.state_dict().items():
        assert torch.equal(rest.model.state_dict()[name], value), name
