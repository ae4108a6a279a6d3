"""Principal components, and the encoder of vectors that starts from them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from pydantic import ValidationError

from sightline.errors import ConfigError, DataError
from sightline.models.pca import principal_components
from sightline.models.vector_encoder import LARGEST_CODE, VectorEncoder, VectorEncoderConfig

Table = npt.NDArray[Any]
KINDS = ("linear", "residual", "mlp")


def cloud(rows: int = 400, width: int = 12, seed: int = 0) -> Table:
    """Vectors with a mean far from zero and another variance along every direction."""
    random = np.random.default_rng(seed)
    stretched = random.normal(size=(rows, width)) * np.linspace(4, 0.2, width)
    turned = stretched @ np.linalg.qr(random.normal(size=(width, width)))[0]
    return np.asarray(turned + random.normal(size=width) * 10, np.float32)


def encoder(values: Table, **settings: Any) -> VectorEncoder:
    torch.manual_seed(3)
    settings = {"input_dim": values.shape[1], "latent_dim": 5, "hidden_dims": (16,), **settings}
    if settings.get("name", "linear") == "linear":
        settings.pop("hidden_dims")
    made = VectorEncoder(VectorEncoderConfig(**settings))
    made.start_from([values])
    return made


def encoded(model: VectorEncoder, values: Table) -> Table:
    with torch.no_grad():
        return np.asarray(model(torch.from_numpy(values)).numpy())


def up_to_sign(found: Table, wanted: Table) -> Table:
    """What was found, with the sign of each column that is nearer to what is wanted."""
    return np.asarray(found * np.sign((found * wanted).sum(axis=0)))


def sklearn_pca(values: Table, width: int) -> tuple[Table, Table]:
    from sklearn.decomposition import PCA

    fitted = PCA(width, svd_solver="full").fit(values.astype(np.float64))
    return fitted.transform(values.astype(np.float64)), fitted.explained_variance_


# Principal components.


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_principal_components_are_those_of_sklearn(dtype: Any) -> None:
    values = cloud().astype(dtype)
    blocks = [values[:1], values[1:150], values[150:]]
    found = principal_components(blocks)
    wanted, variances = sklearn_pca(values, 12)
    # Theirs are of a sample, divided by N - 1.
    np.testing.assert_allclose(found.variances * 400 / 399, variances, rtol=1e-6)
    np.testing.assert_allclose(found.directions @ found.directions.T, np.eye(12), atol=1e-12)
    np.testing.assert_allclose(found.mean, values.astype(np.float64).mean(axis=0), rtol=1e-9)
    projected = found.project(values, 4)
    assert projected.dtype == np.float32
    np.testing.assert_allclose(
        up_to_sign(projected, wanted[:, :4]), wanted[:, :4], rtol=1e-4, atol=1e-4
    )


def test_components_do_not_depend_on_how_vectors_come_in_blocks() -> None:
    values = cloud()
    one, many = principal_components([values]), principal_components(np.array_split(values, 7))
    np.testing.assert_allclose(one.directions, many.directions, atol=1e-9)
    assert (one.directions[np.arange(12), np.abs(one.directions).argmax(axis=1)] > 0).all()


def test_fewer_vectors_than_numbers_leave_directions_without_variance() -> None:
    found = principal_components([cloud(4)])
    assert (found.variances[:3] > 1e-3).all()
    np.testing.assert_allclose(found.variances[3:], 0, atol=1e-9)
    np.testing.assert_allclose(found.directions @ found.directions.T, np.eye(12), atol=1e-12)


def test_no_vectors_have_no_components() -> None:
    with pytest.raises(DataError, match="no vectors"):
        principal_components([])


# What the encoder starts as.


@pytest.mark.parametrize("name", ["linear", "residual"])
def test_it_starts_as_pca_in_the_unit_of_the_vectors(name: str) -> None:
    values = cloud()
    found = encoded(encoder(values, name=name), values)
    wanted, _ = sklearn_pca(values, 5)
    np.testing.assert_allclose(up_to_sign(found, wanted), wanted, atol=1e-4)


def test_of_full_width_it_keeps_every_distance() -> None:
    from scipy.spatial.distance import pdist

    values = cloud(60)
    found = encoded(encoder(values, latent_dim=12), values)
    np.testing.assert_allclose(pdist(found), pdist(values), rtol=1e-4)


@pytest.mark.parametrize("name", KINDS)
def test_what_comes_out_scales_with_what_goes_in(name: str) -> None:
    values = cloud()
    small, large = (encoded(encoder(one, name=name), one) for one in (values, values * 1024))
    np.testing.assert_allclose(large, small * 1024, rtol=1e-3, atol=1e-2 * 1024)


def test_equal_vectors_have_no_spread_and_come_out_finite() -> None:
    values = np.ones((30, 12), np.float32)
    for name in KINDS:
        for int8 in (False, True):
            assert np.isfinite(encoded(encoder(values, name=name, int8=int8), values)).all()


def test_a_network_alone_is_the_plain_formula() -> None:
    values = cloud(20)
    model = encoder(values, name="mlp", hidden_dims=(7, 9))
    assert model.projection is None
    assert model.network is not None
    hidden = (values - model.mean.numpy()) / float(model.spread)
    for place, layer in enumerate([model.network[0], model.network[2], model.network[4]]):
        weight, bias = (one.detach().numpy() for one in (layer.weight, layer.bias))
        hidden = hidden @ weight.T + bias
        hidden = np.maximum(hidden, 0) if place < 2 else hidden
    wanted = hidden * float(model.spread)
    np.testing.assert_allclose(encoded(model, values), wanted, rtol=1e-4, atol=1e-4)


def test_a_residual_is_the_sum_of_both() -> None:
    values = cloud(20)
    model = encoder(values, name="residual")
    assert model.network is not None
    last = model.network[-1]
    start = encoded(model, values)
    with torch.no_grad():
        last.bias.fill_(0.5)
    np.testing.assert_allclose(
        encoded(model, values), start + 0.5 * float(model.spread), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("name", KINDS)
def test_length_one_where_that_is_asked_for(name: str) -> None:
    values = cloud()
    found = encoded(encoder(values, name=name, normalize_output=True), values)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-5)
    plain = encoded(encoder(values, name=name), values)
    lengths = np.linalg.norm(plain, axis=1, keepdims=True)
    np.testing.assert_allclose(found, plain / lengths, atol=1e-5)


# The int8 head.


def plain_int8(values: Table, step: Table) -> Table:
    return np.asarray(np.clip(np.round(values / step), -LARGEST_CODE, LARGEST_CODE) * step)


@pytest.mark.parametrize("name", ["linear", "mlp"])
@pytest.mark.parametrize("unit", [1.0, 1e-3])
def test_int8_rounds_to_at_most_255_levels_of_each_number(name: str, unit: float) -> None:
    values = cloud(4000) * np.float32(unit)
    model = encoder(values, name=name, int8=True)
    assert model.step is not None
    step = model.step.detach().numpy()
    found = encoded(model, values * 3)
    with torch.no_grad():
        before = model.encode(torch.from_numpy(values * 3)).numpy()
    np.testing.assert_allclose(found, plain_int8(before, step), rtol=1e-4, atol=1e-6 * unit)
    codes = np.round(found / step)
    np.testing.assert_allclose(found, codes * step, rtol=1e-4, atol=1e-6 * unit)
    assert np.abs(codes).max() <= LARGEST_CODE
    assert all(len(np.unique(column)) <= 255 for column in codes.T)


def test_int8_starts_with_steps_that_reach_four_standard_deviations() -> None:
    values = cloud(4000)
    model = encoder(values, int8=True)
    assert model.step is not None
    _, variances = sklearn_pca(values, 5)
    np.testing.assert_allclose(
        model.step.detach().numpy() * LARGEST_CODE, 4 * np.sqrt(variances), rtol=1e-3
    )


def test_the_gradient_passes_rounding_and_steps_learn_what_it_lost() -> None:
    values = cloud(200)
    model = encoder(values, int8=True)
    inputs = torch.from_numpy(values * 4)
    assert model.log_step is not None
    with torch.no_grad():
        model.log_step -= 1.5  # so that some numbers are beyond the last level
    weights = torch.from_numpy(np.random.default_rng(1).normal(size=(200, 5)).astype(np.float32))
    encoding = model.encode(inputs).detach().requires_grad_()
    model.encode = lambda vectors: encoding  # type: ignore[method-assign]
    (model(inputs) * weights).sum().backward()
    assert model.step is not None
    step = model.step.detach().double().numpy()
    scaled = encoding.detach().double().numpy() / step
    inside = np.abs(scaled) <= LARGEST_CODE
    assert 0.05 < inside.mean() < 0.95, "both cases are met"
    assert encoding.grad is not None
    np.testing.assert_allclose(encoding.grad.numpy(), weights.numpy() * inside, rtol=1e-5)
    # Esser et al. 2020, equation 3; times the step, since its logarithm is what is learnt.
    by_step = np.where(inside, np.round(scaled) - scaled, LARGEST_CODE * np.sign(scaled))
    wanted = (by_step * weights.numpy()).sum(axis=0) * step
    assert model.log_step.grad is not None
    np.testing.assert_allclose(model.log_step.grad.numpy(), wanted, rtol=2e-3)


@pytest.mark.parametrize("unit", [1e-3, 1e3])
def test_steps_are_learnt_whatever_the_unit_is(unit: float) -> None:
    values = cloud() * np.float32(unit)
    model = encoder(values, int8=True)
    assert model.step is not None
    before = model.step.detach().clone()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    inputs = torch.from_numpy(values)
    wanted = model.encode(inputs).detach()
    for _ in range(20):
        optimizer.zero_grad()
        ((model(inputs) - wanted) / unit).square().mean().backward()
        optimizer.step()
    ratio = (model.step.detach() / before).numpy()
    assert (np.abs(np.log(ratio)) > 0.01).any(), "something was learnt"
    assert (np.abs(np.log(ratio)) < 0.25).all(), "and no step left its size"


# As plain data, and what is refused.


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("int8", [False, True])
def test_an_encoder_is_made_again_from_its_description(name: str, int8: bool) -> None:
    import json

    values = cloud(50)
    model = encoder(values, name=name, int8=int8, normalize_output=True)
    described = json.loads(json.dumps(model.describe()))
    again = VectorEncoder.from_description(described)
    again.load_state_dict(model.state_dict())
    np.testing.assert_array_equal(encoded(again, values), encoded(model, values))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"latent_dim": 65, "input_dim": 64}, "compresses nothing"),
        ({"latent_dim": 5, "hidden_dims": (3,)}, "only with model residual or mlp"),
        ({"name": "mlp", "hidden_dims": ()}, "sizes of 1 or more"),
        ({"name": "residual", "hidden_dims": (4, 0)}, "sizes of 1 or more"),
        ({"latent_dim": 0}, "latent_dim"),
    ],
)
def test_sizes_that_make_no_sense_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        VectorEncoderConfig(**settings)


def test_without_the_size_of_the_vectors_there_is_no_encoder() -> None:
    with pytest.raises(ConfigError, match="how many numbers"):
        VectorEncoder(VectorEncoderConfig(latent_dim=4))
