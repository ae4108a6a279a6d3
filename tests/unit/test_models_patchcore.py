from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor
from torch.nn import functional as F

from sightline.errors import DataError
from sightline.models.blur import GaussianBlur
from sightline.models.patch_sample import PatchSample
from sightline.models.patchcore import PatchCore, create_patchcore
from sightline.models.settings import BackboneConfig

CONFIG = BackboneConfig(name="resnet18", pretrained=False)


def model(neighbours: int = 9) -> PatchCore:
    torch.manual_seed(0)
    return create_patchcore(CONFIG, img_size=64, neighbours=neighbours).eval()


def images(count: int = 4, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, 64, 64), dtype=torch.uint8, generator=generator)


def with_bank(patchcore: PatchCore, vectors: Tensor) -> PatchCore:
    patchcore.load_state_dict({**patchcore.state_dict(), "memory_bank": vectors})
    return patchcore


def fitted(**options: object) -> PatchCore:
    patchcore = model()
    patchcore.fit(images().split(2), **{"seed": 0, **options})  # type: ignore[arg-type]
    return patchcore


def test_patches_are_neighbourhood_means_joined_over_layers() -> None:
    patchcore = model()
    vectors, grid = patchcore.patches(images(1))
    assert vectors.shape == (1, 64, 128 + 256)
    assert grid == (8, 8)
    shallow, deep = patchcore.features(images(1))
    for y, x in ((3, 4), (0, 0), (7, 2)):
        around = [
            shallow[0, :, v, u]
            for v in range(y - 1, y + 2)
            for u in range(x - 1, x + 2)
            if 0 <= v < 8 and 0 <= u < 8
        ]
        mean = torch.stack(around).sum(0) / 9  # beyond the edge there are zeros
        assert torch.allclose(vectors[0, y * 8 + x, :128], mean, atol=1e-5)
    pooled = F.avg_pool2d(deep, 3, 1, 1)
    fine = F.interpolate(pooled, size=(8, 8), mode="bilinear")[0]
    assert torch.allclose(vectors[0, :, 128:], fine.flatten(1).T, atol=1e-5)


@pytest.mark.parametrize("neighbours", [1, 3, 9, 50])
def test_scores_follow_equation_7(neighbours: int) -> None:
    patchcore, batch = model(neighbours), images(3, seed=5)
    bank = model().patches(images(1))[0][0][::3].contiguous()
    with_bank(patchcore, bank)
    vectors, _ = patchcore.patches(batch)
    scores = patchcore(batch).score
    rows = bank.double()
    for number in range(3):
        distances = torch.cdist(vectors[number].double(), rows)
        nearest, which = distances.min(dim=1)
        patch = int(nearest.argmax())
        expected = nearest[patch].item()
        if neighbours > 1:
            support = torch.cdist(rows[which[patch]][None], rows)[0].argsort()[:neighbours]
            total = sum(math.exp(distances[patch, n].item()) for n in support.tolist())
            expected *= 1 - math.exp(expected) / total
        assert scores[number].item() == pytest.approx(expected, rel=1e-4)


def test_maps_are_distances_up_sampled_and_blurred() -> None:
    patchcore, batch = fitted(), images(2, seed=3)
    vectors, grid = patchcore.patches(batch)
    distances = torch.cdist(vectors, patchcore.memory_bank[None]).min(dim=2).values
    fine = F.interpolate(distances.view(2, 1, *grid), size=(64, 64), mode="bilinear")[:, 0]
    maps = patchcore(batch).map
    assert maps.dtype == torch.float32
    for found, raw in zip(maps, fine, strict=True):
        expected = gaussian_filter(raw.double().numpy(), 4.0, mode="mirror")
        assert np.allclose(found.numpy(), expected, rtol=1e-3, atol=1e-3)


def test_normal_images_in_the_bank_score_zero_and_others_do_not() -> None:
    patchcore = fitted(coreset_ratio=1.0)
    assert len(patchcore.memory_bank) == 4 * 64
    assert patchcore(images()).score.abs().max() == 0
    assert patchcore(images(2, seed=9)).score.min() > 0


def test_a_bank_of_any_size_survives_a_state_dict() -> None:
    one, empty = fitted(coreset_ratio=0.3), model()
    with pytest.raises(RuntimeError, match="bank is empty"):
        empty(images())
    empty.load_state_dict(one.state_dict())
    assert torch.equal(empty.memory_bank, one.memory_bank)
    assert torch.equal(empty(images(2, seed=1)).map, one(images(2, seed=1)).map)
    one.load_state_dict(fitted(coreset_ratio=0.1).state_dict())
    assert len(one.memory_bank) == 25
    wrapped = torch.nn.ModuleDict({"inside": model()})
    wrapped.load_state_dict({f"inside.{name}": tensor for name, tensor in one.state_dict().items()})


def test_fit_is_a_function_of_the_seed_and_not_of_the_batch_size() -> None:
    for memory in (2048, 1):
        banks = []
        for size, seed in ((1, 0), (4, 0), (4, 1)):
            patchcore = model()
            batches = images(8).split(size)
            patchcore.fit(batches, seed=seed, coreset_ratio=0.2, memory_mib=memory)
            banks.append(patchcore.memory_bank)
        assert torch.allclose(banks[0], banks[1], atol=1e-4)
        assert banks[1].shape != banks[2].shape or not torch.allclose(banks[1], banks[2])


def test_the_report_counts_what_was_done() -> None:
    patchcore = model()
    report = patchcore.fit(images(5).split(2), seed=0, coreset_ratio=0.25)
    assert (report.images, report.patches, report.candidates) == (5, 320, 320)
    assert report.kept == len(patchcore.memory_bank) == 80
    assert report.radius > 0
    assert "80 of 320" in report.summary()
    assert "sampled" not in report.summary()
    limited = patchcore.fit(images(8).split(3), seed=0, memory_mib=1)
    assert limited.patches == 512
    assert limited.candidates * patchcore.memory_bank.shape[1] * 4 <= 2**20
    assert limited.candidates > 300
    assert "sampled" in limited.summary()


def test_no_image_is_refused() -> None:
    with pytest.raises(DataError, match="no normal image"):
        model().fit([], seed=0)
    with pytest.raises(DataError, match="no normal image"):
        model().fit([images()[:0]], seed=0)
    with pytest.raises(ValueError, match="coreset_ratio"):
        model().fit(images().split(2), seed=0, coreset_ratio=0.0)


def test_constant_images_give_a_small_bank_and_finite_scores() -> None:
    patchcore = model()
    black = torch.zeros(3, 3, 64, 64, dtype=torch.uint8)
    report = patchcore.fit(black.split(1), seed=0, coreset_ratio=0.5)
    assert report.kept <= 64  # three equal images hold each patch three times
    for batch in (black, images()):
        output = patchcore(batch)
        assert torch.isfinite(output.score).all()
        assert torch.isfinite(output.map).all()
    assert patchcore(images()).score.min() > patchcore(black).score.max()


def test_a_bank_of_one_patch_scores_by_distance() -> None:
    patchcore = with_bank(model(), model().patches(images(1))[0][0, :1])
    vectors, _ = patchcore.patches(images(2, seed=4))
    far = (vectors - patchcore.memory_bank).norm(dim=2).amax(dim=1)
    assert torch.allclose(patchcore(images(2, seed=4)).score, far, rtol=1e-4)


def test_scores_are_float32_under_autocast() -> None:
    patchcore, batch = fitted(), images(2, seed=1)
    expected = patchcore(batch)
    with torch.autocast("cpu", torch.bfloat16):
        output = patchcore(batch)
    assert torch.equal(output.score, expected.score)
    assert torch.equal(output.map, expected.map)


def test_a_bank_is_of_full_precision_under_autocast() -> None:
    plain = fitted().memory_bank
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(fitted().memory_bank, plain)


def test_without_blur_the_map_is_as_sharp_as_the_patches() -> None:
    torch.manual_seed(0)
    sharp = create_patchcore(CONFIG, img_size=64, sigma=0.0).eval()
    with_bank(sharp, fitted().memory_bank)
    vectors, grid = sharp.patches(images(2, seed=3))
    distances = torch.cdist(vectors, sharp.memory_bank[None]).min(dim=2).values
    fine = F.interpolate(distances.view(2, 1, *grid), size=(64, 64), mode="bilinear")[:, 0]
    assert torch.allclose(sharp(images(2, seed=3)).map, fine, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("sigma", "shape"), [(4.0, (2, 70, 40)), (1.3, (1, 9, 6)), (4.0, (1, 1, 5))]
)
def test_blur_agrees_with_scipy_and_keeps_constants(
    sigma: float, shape: tuple[int, int, int]
) -> None:
    maps = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    blurred = GaussianBlur(sigma)(maps)
    for found, raw in zip(blurred, maps, strict=True):
        expected = gaussian_filter(raw.double().numpy(), sigma, mode="mirror")
        assert np.allclose(found.numpy(), expected, atol=1e-5)
    assert torch.allclose(GaussianBlur(sigma)(torch.ones(shape)), torch.ones(shape), atol=1e-5)


def sampled(limit: int, batch: int, seed: int = 0) -> Tensor:
    sample = PatchSample(limit, seed=seed)
    for part in torch.arange(40.0).view(10, 4, 1).split(batch):
        sample.add(part)
    assert sample.seen == 40
    assert len(sample) == min(limit, 40)
    return sample.mapped(lambda block: block)[:, 0]


def test_a_sample_is_ordered_bounded_and_free_of_the_batch_size() -> None:
    assert sampled(100, 3).tolist() == list(range(40))
    for limit in (1, 7, 39):
        kept = sampled(limit, 3)
        assert len(set(kept.tolist())) == limit
        assert kept.tolist() == sorted(kept.tolist())
        assert torch.equal(kept, sampled(limit, 10))
        assert torch.equal(kept, sampled(limit, 1))
    assert not torch.equal(sampled(7, 3), sampled(7, 3, seed=1))


def test_a_sample_is_uniform() -> None:
    counts = torch.zeros(40)
    for seed in range(300):
        counts[sampled(10, 3, seed=seed).long()] += 1
    # 75 expected of each, with a standard deviation of 7.5
    assert counts.min() > 40
    assert counts.max() < 110


def test_a_sample_gives_back_any_rows() -> None:
    sample = PatchSample(30, seed=0)
    for part in torch.arange(80.0).view(10, 4, 2).split(3):
        sample.add(part)
    everything = sample.mapped(lambda block: block)
    wanted = torch.tensor([29, 0, 7, 7, 15])
    assert torch.equal(sample.take(wanted), everything[wanted])
