from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from sightline.losses.soft_rank import soft_rank, soft_rank_exact
from sightline.losses.soft_rank_sums import (
    LARGEST_GRID,
    NODES_PER_UNIT,
    centred_sigmoid,
    grid_sums,
    kernel_sums,
    pairwise_sums,
    sigmoid_slope,
)

BATCH = 129


def slow_ranks(row: list[float], tau: float) -> list[float]:
    return [
        1 + sum(1 / (1 + math.exp((b - a) / tau)) for j, b in enumerate(row) if j != i)
        for i, a in enumerate(row)
    ]


def cubic(distances: Tensor, tau: Tensor) -> Tensor:
    """The definition in float64 with autograd, by the table of all triples."""
    apart = (distances[:, :, None] - distances[:, None, :]) / tau[:, :, None]
    return torch.sigmoid(apart).sum(2) + 0.5


def rows_of(kind: str) -> Tensor:
    """Distances (BATCH, BATCH - 1) of one kind, float32."""
    random = torch.Generator().manual_seed(7)
    if kind == "narrow":
        return 1 + 1e-3 * torch.rand(BATCH, BATCH - 1, generator=random)
    if kind == "heavy tails":
        return torch.exp(2 * torch.randn(BATCH, BATCH - 1, generator=random))
    vectors = torch.randn(BATCH, 24, generator=random, dtype=torch.float64)
    if kind == "clustered":
        centres = torch.randn(8, 24, generator=random, dtype=torch.float64)
        vectors = centres[torch.arange(BATCH) % 8] + 0.02 * vectors
    vectors = F.normalize(vectors, dim=1)
    if kind == "duplicates":
        vectors[::3] = vectors[0]
    if kind == "outlier":
        vectors[5] *= 1000
    table = torch.cdist(vectors, vectors, compute_mode="donot_use_mm_for_euclid_dist")
    return table[~torch.eye(BATCH, dtype=torch.bool)].view(BATCH, BATCH - 1).float()


KINDS = ("unit gaussian", "clustered", "duplicates", "outlier", "narrow", "heavy tails")


@settings(max_examples=40, deadline=None)
@given(
    row=st.lists(st.floats(0, 3, width=32), min_size=1, max_size=70),
    tau=st.sampled_from([0.02, 0.1, 1.0, 5.0]),
)
def test_ranks_are_those_of_a_plain_loop(row: list[float], tau: float) -> None:
    expected = torch.tensor([slow_ranks(row, tau)], dtype=torch.float32)
    for ranks in (soft_rank, soft_rank_exact):
        assert torch.allclose(ranks(torch.tensor([row]), tau), expected, atol=1e-3, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("relative", [0.01, 0.1, 1.0, 5.0])
def test_ranks_and_gradients_are_those_of_the_cubic_method(kind: str, relative: float) -> None:
    rows = rows_of(kind)
    tau = relative * rows.std(1, keepdim=True)
    upstream = torch.randn(rows.shape, generator=torch.Generator().manual_seed(1))
    expected_input = rows.double().requires_grad_()
    expected = cubic(expected_input, tau.double())
    (expected * upstream).sum().backward()
    for ranks in (soft_rank, soft_rank_exact):
        distances = rows.clone().requires_grad_()
        found = ranks(distances, tau)
        (found * upstream).sum().backward()
        assert found.dtype is torch.float32
        assert (found - expected).abs().max() < 1e-5 * BATCH
        assert distances.grad is not None
        assert expected_input.grad is not None
        wrong = (distances.grad - expected_input.grad).norm() / expected_input.grad.norm()
        assert wrong < 3e-5


def test_sharp_ranks_are_the_hard_ones_and_ties_share_their_places() -> None:
    row = torch.rand(3, 200, generator=torch.Generator().manual_seed(0)).argsort(1) / 10.0
    assert torch.allclose(soft_rank(row, 1e-3), row.mul(10).round() + 1, atol=1e-3)
    tied = torch.tensor([[2.0, 1.0, 2.0, 2.0, 9.0]])
    assert torch.allclose(soft_rank(tied, 1e-3), torch.tensor([[3.0, 1.0, 3.0, 3.0, 5.0]]))


@pytest.mark.parametrize("ranks", [soft_rank, soft_rank_exact])
def test_equal_distances_have_equal_ranks_and_a_finite_gradient(ranks: object) -> None:
    assert callable(ranks)
    rows = torch.full((2, 100), 0.7, requires_grad=True)
    found = ranks(rows, torch.zeros(2, 1))
    found[:, 0].sum().backward()
    assert torch.allclose(found, torch.tensor(50.5))
    assert rows.grad is not None
    assert rows.grad.isfinite().all()


def test_the_temperature_may_differ_by_row_and_gets_no_gradient() -> None:
    rows = rows_of("unit gaussian")
    tau = torch.linspace(0.05, 0.5, BATCH, requires_grad=True)[:, None]
    together = soft_rank(rows, tau)
    assert not together.requires_grad
    for row in (0, 64, 128):
        alone = soft_rank(rows[row : row + 1], tau[row].detach().item())
        assert torch.allclose(together[row], alone[0], atol=1e-3)


def test_the_sum_of_ranks_is_constant_and_order_of_columns_does_not_matter() -> None:
    rows = rows_of("clustered")
    found = soft_rank(rows, 0.2)
    count = rows.shape[1]
    assert torch.allclose(found.sum(1), torch.tensor(count * (count + 1) / 2), rtol=1e-5)
    shuffled = torch.randperm(count, generator=torch.Generator().manual_seed(2))
    assert torch.allclose(soft_rank(rows[:, shuffled], 0.2), found[:, shuffled], atol=1e-3)


def test_rows_too_wide_for_a_grid_go_pair_by_pair_and_the_others_do_not() -> None:
    rows = rows_of("unit gaussian")
    wide = rows.clone()
    wide[3] *= 1e6
    places = (wide - wide.amin(1, keepdim=True)) / 0.1
    assert places[3].max() * NODES_PER_UNIT > LARGEST_GRID
    masses = torch.randn(places.shape, generator=torch.Generator().manual_seed(3))
    kernels = (centred_sigmoid, sigmoid_slope)
    mixed = kernel_sums(places, masses, kernels)
    for found, by_pair in zip(mixed, pairwise_sums(places, masses, kernels), strict=True):
        assert torch.equal(found[3], by_pair[3])
        assert not torch.equal(found[4], by_pair[4])
        assert torch.allclose(found, by_pair, atol=1e-4)


def test_a_number_that_is_not_finite_spoils_its_row_alone() -> None:
    rows = rows_of("unit gaussian")
    clean = soft_rank(rows, 0.1)
    rows[2, 5] = math.nan
    found = soft_rank(rows, 0.1)
    assert found[2].isnan().all()
    assert torch.allclose(found[3:], clean[3:], atol=1e-3)


def test_grids_of_one_node_and_of_many_blocks_agree_with_the_definition() -> None:
    random = torch.Generator().manual_seed(4)
    for places in (torch.zeros(1, 1), 60 * torch.rand(700, 300, generator=random)):
        places -= places.amin(1, keepdim=True)
        (found,) = grid_sums(places, None, (centred_sigmoid,))
        (expected,) = pairwise_sums(places[-2:], None, (centred_sigmoid,))
        assert torch.allclose(found[-2:], expected, atol=1e-3)


def test_float32_under_autocast_and_for_halves() -> None:
    rows = rows_of("unit gaussian").bfloat16().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = soft_rank(rows, 0.1)
    assert found.dtype is torch.float32
    assert torch.equal(found, soft_rank(rows.float(), 0.1))
    found.square().sum().backward()
    assert rows.grad is not None
    assert rows.grad.dtype is torch.bfloat16


def test_rows_of_one_and_none() -> None:
    assert torch.equal(soft_rank(torch.tensor([[3.0], [4.0]]), 1.0), torch.ones(2, 1))
    for shape in ((0, 3), (3, 0)):
        empty = torch.zeros(shape, requires_grad=True)
        found = soft_rank(empty, 1.0)
        found.sum().backward()
        assert found.shape == shape


def test_what_cannot_be_ranked_is_refused() -> None:
    for tau in (0.0, -1.0, math.nan):
        with pytest.raises(ValueError, match="tau is a number above 0"):
            soft_rank(torch.zeros(2, 3), tau)
    with pytest.raises(ValueError, match="got the shape"):
        soft_rank(torch.zeros(3), 1.0)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_gives_the_same_ranks_and_gradients() -> None:
    torch.use_deterministic_algorithms(True)
    try:
        found = []
        for device in ("cpu", "cuda"):
            rows = rows_of("clustered").to(device).requires_grad_()
            ranks = soft_rank(rows, 0.1)
            ranks.square().mean().backward()
            assert rows.grad is not None
            found.append((ranks.detach().cpu(), rows.grad.cpu()))
    finally:
        torch.use_deterministic_algorithms(False)
    assert torch.allclose(found[0][0], found[1][0], atol=1e-3)
    assert torch.allclose(found[0][1], found[1][1], rtol=1e-3, atol=1e-4)
