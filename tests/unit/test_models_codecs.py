"""Codecs: transforms and quantisers against plain loops, NumPy and Faiss, and their folders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from sightline.compressing.candidates import Spec, candidate_specs, default_budgets, learned_spec
from sightline.compressing.fitting import ArrayRows, Fitter
from sightline.errors import CheckpointError, DataError
from sightline.models.codec import Codec, make_codec
from sightline.models.pca import principal_components
from sightline.models.projections import pca_projection, random_projection, whitened_projection
from sightline.models.quantizers import Binary, fit_binary, fit_int8, symmetric_int8
from sightline.models.vector_encoder import VectorEncoder, VectorEncoderConfig
from sightline.trained.codec_folder import describe_codec, load_codec, save_codec

Table = npt.NDArray[Any]
WIDTH = 24


def cloud(rows: int = 600, width: int = WIDTH, seed: int = 0) -> Table:
    """Clusters in a space whose axes matter less and less, turned."""
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(98).normal(size=(20, width))
    values = centres[random.integers(0, 20, rows)] + 0.4 * random.normal(size=(rows, width))
    turn = np.linalg.qr(np.random.default_rng(99).normal(size=(width, width)))[0]
    return np.asarray((values * np.linspace(2, 0.2, width)) @ turn + 1.5, np.float32)


def fitter(metric: str = "euclidean", values: Table | None = None) -> Fitter:
    return Fitter(ArrayRows(cloud() if values is None else values), metric=metric, seed=3)


# Transforms.


def test_components_are_those_of_a_singular_value_decomposition() -> None:
    values = cloud()
    made = pca_projection(principal_components([values[:200], values[200:]]), 5)
    centred = values - values.mean(axis=0)
    axes = np.linalg.svd(centred.astype(np.float64), full_matrices=False)[2][:5]
    wanted = centred @ axes.T
    found = made(torch.from_numpy(values)).numpy()
    signs = np.sign((found * wanted).sum(axis=0))
    np.testing.assert_allclose(found * signs, wanted, atol=2e-3)
    whitened = whitened_projection(principal_components([values]), 5)
    np.testing.assert_allclose(whitened(torch.from_numpy(values)).numpy().std(axis=0), 1, atol=0.01)
    with pytest.raises(DataError, match="1 to 24"):
        pca_projection(principal_components([values]), 25)


def test_a_component_without_variance_is_not_blown_up() -> None:
    values = np.concatenate([cloud(200, 6), np.full((200, 2), 7.0, np.float32)], axis=1)
    found = whitened_projection(principal_components([values]), 8)(torch.from_numpy(values))
    assert bool(found.isfinite().all())
    assert float(found.abs().max()) < 20


def test_random_projections_depend_on_the_seed_and_keep_lengths_on_average() -> None:
    values = torch.randn(200, 512, generator=torch.Generator().manual_seed(77))
    one, same, other = (random_projection(512, 128, seed=seed)(values) for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.allclose(one, other)
    ratio = one.norm(dim=1) / values.norm(dim=1)
    assert float(ratio.mean()) == pytest.approx(1, abs=0.03)


# Quantisers.


def test_int8_is_at_most_half_a_step_off_and_clips_beyond() -> None:
    values = torch.from_numpy(cloud(4000, 6))
    made = fit_int8(values)
    codes = made(values)
    assert codes.dtype == torch.int8
    back = made.decode(codes)
    inside = (codes > -128) & (codes < 127)
    assert bool(
        ((back - values).abs()[inside] <= 0.5001 * made.scale.expand_as(back)[inside]).all()
    )
    assert float(((back - values) ** 2).mean()) < 1e-3 * float(values.var())
    far = made(values[:1] + 1e6)
    assert bool((far == 127).all())
    constant = fit_int8(torch.full((50, 2), 3.25))
    assert torch.allclose(constant.decode(constant(torch.full((1, 2), 3.25))), torch.tensor(3.25))


def test_learnt_steps_are_multiples_around_zero() -> None:
    step = torch.tensor([0.5, 0.25])
    made = symmetric_int8(step)
    values = torch.tensor([[1.2, -0.3], [1000.0, -1000.0]])
    np.testing.assert_array_equal(made(values).numpy(), [[2, -1], [127, -127]])
    np.testing.assert_allclose(made.decode(made(values[:1])).numpy(), [[1.0, -0.25]])


@pytest.mark.parametrize("size", [8, 13])
def test_bits_say_which_side_of_the_median(size: int) -> None:
    values = torch.from_numpy(cloud(301, size))
    made = fit_binary(values)
    codes = made(values)
    assert codes.shape == (301, -(-size // 8))
    median = np.median(values.numpy(), axis=0)
    bits = np.unpackbits(codes.numpy(), axis=1)[:, :size]
    wanted = [[int(cell > middle) for cell, middle in zip(row, median, strict=True)]
              for row in values.numpy()]  # fmt: skip
    np.testing.assert_array_equal(bits, wanted)
    np.testing.assert_array_equal(np.sign(made.signs(codes).numpy()), 2 * bits.astype(int) - 1)
    assert isinstance(made, Binary)


def test_products_are_those_of_faiss() -> None:
    faiss = pytest.importorskip("faiss")
    from sightline.models.quantizer_products import fit_products

    values = cloud(1500)
    made = fit_products(values, 6, seed=0)
    theirs = faiss.ProductQuantizer(WIDTH, 6, 8)
    faiss.copy_array_to_vector(made.centroids.numpy().ravel(), theirs.centroids)
    codes = made(torch.from_numpy(values)).numpy()
    assert (codes == theirs.compute_codes(values)).mean() > 0.999
    np.testing.assert_allclose(
        made.decode(torch.from_numpy(codes)).numpy(), theirs.decode(codes), rtol=1e-5
    )
    # And each is the nearest by a plain loop.
    for row in (0, 7, 99):
        for part in range(6):
            piece = values[row, 4 * part : 4 * part + 4]
            far = [float(((piece - one) ** 2).sum()) for one in made.centroids[part].numpy()]
            assert far[codes[row, part]] == pytest.approx(min(far), rel=1e-4)
    few = fit_products(values[:40], 6, seed=0)
    back = few.decode(few(torch.from_numpy(values[:40]))).numpy()
    np.testing.assert_allclose(back, values[:40], atol=1e-5)
    with pytest.raises(DataError, match="divides 24"):
        fit_products(values, 7, seed=0)


def test_a_rotation_is_one_and_makes_products_lose_less() -> None:
    pytest.importorskip("faiss")
    from sightline.models.quantizer_products import fit_products, fit_rotation

    values = cloud(1500)
    components = pca_projection(principal_components([values]), WIDTH)
    turned = components(torch.from_numpy(values)).numpy()
    rotation = fit_rotation(turned, 4, seed=0)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(WIDTH), atol=1e-4)

    def loss(given: Table) -> float:
        made = fit_products(given, 4, seed=0)
        back = made.decode(made(torch.from_numpy(given))).numpy()
        return float(((back - given) ** 2).sum(axis=1).mean())

    assert loss(np.ascontiguousarray(turned @ rotation.T)) < 0.95 * loss(values)


# Whole codecs.

SPECS = [
    Spec(48, "pca", "float32", 12),
    Spec(24, "pca-whiten", "float16", 12),
    Spec(12, "truncation", "int8", 12),
    Spec(3, "raw", "binary", WIDTH),
    Spec(5, "random", "binary", 40),
    Spec(6, "raw", "pq", WIDTH),
    Spec(6, "opq", "pq", WIDTH),
]
TYPES = {"float32": torch.float32, "float16": torch.float16, "int8": torch.int8}


def fitted(spec: Spec, metric: str = "euclidean") -> Codec:
    if spec.quantizer == "pq":
        pytest.importorskip("faiss")
    return fitter(metric).fit(spec).codec


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("spec", SPECS, ids=lambda one: one.name)
def test_a_codec_has_its_bytes_and_comes_back_from_its_folder(
    spec: Spec, metric: str, tmp_path: Path
) -> None:
    codec, values = fitted(spec, metric), torch.from_numpy(cloud(50, seed=5))
    codes = codec.encode(values)
    assert codec.bytes_per_vector == spec.bytes
    assert codes.shape[1] * codes.element_size() == spec.bytes
    assert codes.dtype == TYPES.get(spec.quantizer, torch.uint8)
    assert codec.decode(codes).shape == codec.project(values).shape == (50, codec.size)
    alone = torch.cat([codec.encode(values[row : row + 1]) for row in range(50)])
    assert float((alone.float() - codes.float()).abs().max()) <= 1
    scaled = codec.encode(3 * values)
    assert torch.equal(scaled, codes) == (metric == "cosine") or spec.quantizer in TYPES
    save_codec(codec, tmp_path / "codec", about={"seed": 3})
    again = load_codec(str(tmp_path / "codec"))
    assert torch.equal(again.encode(values), codes)
    assert torch.equal(again.project(values), codec.project(values))
    assert again.describe() == codec.describe()
    assert describe_codec(tmp_path / "codec")["about"] == {"seed": 3}
    with pytest.raises(DataError, match=r"\(N, D\)"):
        codec.encode(values[0])


def test_codes_stand_for_what_was_projected() -> None:
    values = torch.from_numpy(cloud(200, seed=8))
    for spec in SPECS:
        if spec.quantizer in ("int8", "float32", "float16"):
            codec = fitted(spec)
            apart = (codec.decode(codec.encode(values)) - codec.project(values)).abs()
            assert float(apart.max()) < 0.05 * float(codec.project(values).abs().max()), spec.name


class Halved(torch.nn.Module):
    """An encoder that is none of ours."""

    def forward(self, vectors: Tensor) -> Tensor:
        return vectors[:, :12] * 0.5


def learned(latent: int, *, int8: bool) -> VectorEncoder:
    torch.manual_seed(0)
    config = VectorEncoderConfig(name="linear", input_dim=WIDTH, latent_dim=latent, int8=int8)
    made = VectorEncoder(config)
    made.start_from([cloud()])
    return made


@pytest.mark.parametrize("quantizer", ["int8", "pq"])
def test_learned_codecs_keep_their_encoder(quantizer: Any, tmp_path: Path) -> None:
    if quantizer == "pq":
        pytest.importorskip("faiss")
    spec = Spec(12 if quantizer == "int8" else 6, "learned", quantizer, 12)
    made = learned(12, int8=quantizer == "int8")
    codec = fitter().fit_learned(spec, made, seconds=2.0).codec
    values = torch.from_numpy(cloud(50, seed=5))
    codes = codec.encode(values)
    if quantizer == "int8":
        with torch.no_grad():
            np.testing.assert_allclose(codec.decode(codes), made.eval()(values), atol=1e-5)
    else:
        assert not torch.allclose(codec.project(values), made.encode(values), atol=0.1)
        centred = made.encode(values) - made.encode(torch.from_numpy(cloud())).mean(dim=0)
        kept = codec.project(values).norm(dim=1)
        assert torch.allclose(kept, centred.norm(dim=1), rtol=1e-3), "rotated, not changed"
    save_codec(codec, tmp_path / "codec")
    assert torch.equal(load_codec(tmp_path / "codec").encode(values), codes)
    with pytest.raises(DataError, match="another size"):
        fitter().fit_learned(Spec(5, "learned", "int8", 5), learned(12, int8=False))
    with pytest.raises(DataError, match="cannot be described"):
        fitter().fit_learned(spec, Halved()).codec.describe()


def test_damaged_missing_and_foreign_folders_are_refused(tmp_path: Path) -> None:
    codec, folder = fitted(SPECS[2]), tmp_path / "codec"
    with pytest.raises(CheckpointError, match="no folder of a codec"):
        load_codec(folder)
    save_codec(codec, folder)
    save_codec(codec, folder)  # in its own place
    (folder / "codec.safetensors").write_bytes(b"no tensors")
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_codec(folder)
    described = json.loads((folder / "codec.json").read_text())
    (folder / "codec.json").write_text(json.dumps(described | {"format": 99}))
    with pytest.raises(CheckpointError, match="another version"):
        load_codec(folder)
    with pytest.raises(CheckpointError, match="does not know"):
        make_codec(described["codec"] | {"quantizer": {"kind": "ternary"}})
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "photo.jpg").write_bytes(b"x")
    with pytest.raises(DataError, match="taken by something else"):
        save_codec(codec, mine)
    assert [one.name for one in mine.iterdir()] == ["photo.jpg"]


# What is tried.


def test_every_form_has_exactly_its_bytes() -> None:
    pytest.importorskip("faiss")
    budgets = default_budgets(WIDTH)
    assert budgets == (8, 12, 16, 24, 32, 48)
    specs = candidate_specs(WIDTH, budgets, faiss=True)
    assert {one.transform for one in specs} == {
        *("pca", "pca-whiten", "truncation", "random", "raw", "opq"),
    }
    assert len(specs) == len(set(specs)) == len({(one.name, one.bytes) for one in specs})
    for spec in specs:
        codec = fitter().fit(spec).codec
        codes = codec.encode(torch.from_numpy(cloud(9)))
        assert codes.shape[1] * codes.element_size() == spec.bytes, spec.name
        assert codec.size == spec.size
    without = candidate_specs(WIDTH, budgets, faiss=False)
    assert {one.quantizer for one in specs} - {one.quantizer for one in without} == {"pq"}
    with pytest.raises(DataError, match="has such a size"):
        candidate_specs(WIDTH, [], faiss=False)


def test_learned_forms_are_no_longer_than_the_vectors() -> None:
    for dimension in (3, 24, 100, 1280):
        for size in (1, 8, 48, 96, 512):
            spec = learned_spec(dimension, size, faiss=True)
            if spec is None:
                assert size > dimension
                continue
            assert spec.bytes == size
            assert 1 <= spec.size <= dimension
            assert spec.quantizer != "pq" or spec.size % size == 0


def test_rows_that_cannot_be_fitted_are_refused() -> None:
    with pytest.raises(DataError, match="too few rows"):
        fitter(values=cloud(1))
    bad = cloud(20)
    bad[3, 2] = np.nan
    with pytest.raises(DataError, match="finite"):
        fitter(values=bad)
    with pytest.raises(DataError, match="cosine or euclidean"):
        fitter("dot")
