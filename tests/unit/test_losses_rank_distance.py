from __future__ import annotations

import math
import operator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sightline.losses.rank_distance import (
    LOSSES,
    DPLossTopK,
    DPLossV1,
    DPLossV1Norm,
    DPLossV2,
    DPLossV2Norm,
    RankDistanceLoss,
)
from sightline.losses.rank_geometry import (
    cosine_distances,
    euclidean_distances,
    hard_ranks,
    others,
    row_spread,
)

Table = list[list[float]]


def drawn(seed: int, count: int = 9, width: int = 6, code: int = 3) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(count, width, generator=random)
    return x, x[:, :code] + 0.3 * torch.randn(count, code, generator=random)


def loss_of(name: str, **options: object) -> RankDistanceLoss:
    if name.startswith("DPLossV1"):
        options = {"lambda_pairdist": 0.3} | options
    return LOSSES[name](**options)  # type: ignore[arg-type]


def table_of(vectors: Tensor) -> Table:
    return [[math.dist(a, b) for b in vectors.tolist()] for a in vectors.tolist()]


def sigmoid(number: float) -> float:
    return 1 / (1 + math.exp(-number))


def slow_pair(of_x: Table, of_z: Table) -> float:
    pairs = [(a, b) for x, z in zip(of_x, of_z, strict=True) for a, b in zip(x, z, strict=True)]
    return sum((b - a) ** 2 for a, b in pairs) / len(pairs)


def slow_v1(of_x: Table, of_z: Table, k: int, divisor: float) -> float:
    total = 0.0
    for x, z in zip(np.array(of_x), np.array(of_z), strict=True):
        total += np.abs(x.argsort().argsort() / divisor - z.argsort().argsort() / divisor).sum()
    return total / len(of_x) ** 2 / k


def page_soft_ranks(row: list[float], tau: float) -> list[float]:
    """The original's: descending, over the whole row, with its own term, which is ½."""
    return [1 + sum(sigmoid((b - a) / tau) for b in row) for a in row]


def page_v2(of_x: Table, of_z: Table, tau: float) -> float:
    rows = [
        (page_soft_ranks(x, tau), page_soft_ranks(z, tau)) for x, z in zip(of_x, of_z, strict=True)
    ]
    wrong = sum((b - a) ** 2 for x, z in rows for a, b in zip(x, z, strict=True))
    return wrong / len(of_x) ** 2


def our_soft_ranks(table: Table, tau: float, relative: bool) -> Table:
    """Ascending, among the others; the row itself has None of it."""
    found = []
    for i, row in enumerate(table):
        rest = [d for j, d in enumerate(row) if j != i]
        unit = tau * float(np.std(rest)) if relative else tau
        found.append(
            [
                1 + sum(sigmoid((a - b) / unit) for other, b in enumerate(rest) if other != here)
                for here, a in enumerate(rest)
            ]
        )
    return found


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000), count=st.integers(3, 12))
@pytest.mark.parametrize("scale", ["relative", "absolute"])
@pytest.mark.parametrize("name", ["DPLossV2", "DPLossV2Norm"])
def test_v2_is_the_plain_loop_over_the_others(name: str, scale: str, seed: int, count: int) -> None:
    x, z = drawn(seed, count)
    tables = table_of(x), table_of(z)
    ranks = [np.array(our_soft_ranks(table, 0.7, scale == "relative")) for table in tables]
    divisor = count - 1 if name == "DPLossV2Norm" else 1
    expected = float((((ranks[1] - 1) / divisor - (ranks[0] - 1) / divisor) ** 2).mean())
    loss = loss_of(name, tau=0.7, tau_scale=scale, lambda_rank=2.0, lambda_pairdist=0.5)
    total, rank, pair = loss(x, z)
    assert rank.item() == pytest.approx(expected, rel=1e-3, abs=1e-6)
    assert pair.item() == pytest.approx(slow_pair(*tables), rel=1e-4)
    assert total.item() == pytest.approx(2 * rank.item() + 0.5 * pair.item(), rel=1e-6)


def test_absolute_v2_is_the_original_reversed_and_without_the_row_itself() -> None:
    """With self at distance 0, S_page(i) = N + 3/2 - S(i) - σ(d_i / τ), and of self 3/2 + Σσ(d/τ).

    The original's loss therefore follows from our ranks: of each pair the difference with the
    sign turned and one sigmoid of the distance itself, and N entries of the diagonal.
    """
    x, z = drawn(3, 11)
    tau, count = 0.8, len(x)
    tables = [torch.tensor(table_of(v), dtype=torch.float64) for v in (x, z)]
    page, diagonal = [], []
    for table in tables:
        rest = others(table)
        ours = torch.tensor(our_soft_ranks(table.tolist(), tau, relative=False))
        restored = count + 1.5 - ours - torch.sigmoid(rest / tau)
        rows = [page_soft_ranks(row, tau) for row in table.tolist()]
        assert torch.allclose(restored, others(torch.tensor(rows, dtype=torch.float64)))
        page.append(restored)
        diagonal.append(1.5 + torch.sigmoid(rest / tau).sum(1))
    squares = (page[1] - page[0]).square().sum() + (diagonal[1] - diagonal[0]).square().sum()
    lists = [table.tolist() for table in tables]
    assert squares.item() / count**2 == pytest.approx(page_v2(lists[0], lists[1], tau))

    turned = (page[0] - page[1]) - (
        torch.sigmoid(others(tables[1]) / tau) - torch.sigmoid(others(tables[0]) / tau)
    )
    rank = DPLossV2(tau=tau, tau_scale="absolute")(x, z)[1]
    assert rank.item() == pytest.approx(turned.square().mean().item(), rel=1e-4)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000), count=st.integers(2, 12), k=st.integers(1, 40))
def test_v1_is_the_plain_loop_over_the_whole_table(seed: int, count: int, k: int) -> None:
    x, z = drawn(seed, count)
    tables = table_of(x), table_of(z)
    for loss, divisor in ((DPLossV1, 1), (DPLossV1Norm, count - 1)):
        total, rank, pair = loss(k=k, lambda_pairdist=0.3)(x, z)
        assert rank.item() == pytest.approx(slow_v1(*tables, k, divisor), rel=1e-5, abs=1e-7)
        assert total.item() == pytest.approx(rank.item() + 0.3 * pair.item(), rel=1e-6)


@pytest.mark.parametrize("name", ["DPLossV1", "DPLossV1Norm"])
def test_the_ranks_of_v1_train_nothing_and_that_is_said(name: str) -> None:
    x, z = drawn(0)
    z.requires_grad_()
    total, rank, pair = loss_of(name, lambda_rank=5.0)(x, z)
    assert not rank.requires_grad
    whole = torch.autograd.grad(total, z, retain_graph=True)[0]
    assert torch.equal(whole, torch.autograd.grad(0.3 * pair, z)[0])
    with pytest.raises(ValueError, match="hard ranks have no gradient"):
        LOSSES[name]()
    with pytest.raises(ValueError, match="cannot be balanced"):
        LOSSES[name](lambda_pairdist=1.0, balance="auto")


def test_top_k_is_the_plain_loop() -> None:
    x, z = drawn(5, 10)
    k, count, total = 3, 10, 0.0
    ranks = [our_soft_ranks(table_of(v), 1.0, relative=True) for v in (x, z)]
    places = [hard_ranks(others(torch.tensor(table_of(v)))).tolist() for v in (x, z)]
    norm = sum(math.exp(-r / k) for r in range(count - 1))
    for i in range(count):
        for j in range(count - 1):
            near = sum(math.exp(-(side[i][j] - 1) / k) / norm for side in places)
            total += near / 2 * (ranks[1][i][j] - ranks[0][i][j]) ** 2 / count
    assert DPLossTopK(k=k)(x, z)[1].item() == pytest.approx(total, rel=1e-4)


def test_top_k_counts_lost_neighbours_and_intruders_more_than_swaps_far_away() -> None:
    line = torch.arange(40.0)[:, None]
    anchor = 0

    def moved(point: int, place: float) -> float:
        codes = line.clone()
        codes[point] = place
        rows = [others(euclidean_distances(v))[anchor : anchor + 1] for v in (line, codes)]
        return DPLossTopK(k=3, tau=0.05)._rank_term(*rows).item()

    swapped_far = moved(30, 36.5)
    lost, intruding = moved(1, 7.5), moved(36, 1.5)
    assert lost > 20 * swapped_far
    assert intruding > 20 * swapped_far
    plain = DPLossV2(tau=0.05)
    rows = [others(euclidean_distances(line))[:1]] * 2
    assert plain._rank_term(*rows).item() == 0


@pytest.mark.parametrize("geometry", ["euclidean", "cosine"])
@pytest.mark.parametrize("name", ["DPLossV2", "DPLossV2Norm", "DPLossTopK"])
def test_gradients_are_those_of_the_definition_in_float64(name: str, geometry: str) -> None:
    x, z = drawn(8, 60)
    z.requires_grad_()
    loss_of(name, lambda_pairdist=0.3, geometry=geometry, k=4)(x, z)[0].backward()
    codes = z.detach().double().requires_grad_()
    rows = [others(distances64(v, geometry)) for v in (x.double(), codes)]
    ranks = [ranks64(one / one.std(1, unbiased=False, keepdim=True)) for one in rows]
    wrong = (ranks[1] - ranks[0]).square()
    near = sum(torch.exp((1 - hard_ranks(one)) / 4) for one in rows)
    weights = near / near.sum(1, keepdim=True) * 59 if name == "DPLossTopK" else torch.ones(60, 59)
    rank = (weights * wrong).mean() / (59**2 if name == "DPLossV2Norm" else 1)
    (rank + 0.3 * (rows[1] - rows[0]).square().sum() / 60**2).backward()
    assert z.grad is not None
    assert codes.grad is not None
    assert (z.grad - codes.grad).norm() < 1e-4 * codes.grad.norm()


def distances64(vectors: Tensor, geometry: str) -> Tensor:
    if geometry == "cosine":
        units = vectors / vectors.norm(dim=1, keepdim=True)
        return 1 - units @ units.T
    return torch.cdist(vectors, vectors, compute_mode="donot_use_mm_for_euclid_dist")


def ranks64(rows: Tensor) -> Tensor:
    return torch.sigmoid(rows[:, :, None] - rows[:, None, :]).sum(2) + 0.5


@pytest.mark.parametrize("name", ["DPLossV2", "DPLossV2Norm", "DPLossTopK"])
def test_relative_ranks_neither_see_nor_pull_the_scale_of_the_codes(name: str) -> None:
    x, z = drawn(2, 80)
    z.requires_grad_()
    small, large = (loss_of(name)(x, factor * z)[1] for factor in (0.01, 100.0))
    assert small.item() == pytest.approx(large.item(), rel=1e-3)
    (gradient,) = torch.autograd.grad(loss_of(name)(x, z)[0], z)
    assert abs((gradient * z).sum()) < 1e-4 * gradient.norm() * z.norm()
    fixed = loss_of(name, tau_scale="absolute")
    (gradient,) = torch.autograd.grad(fixed(x, z)[0], z)
    assert abs((gradient * z).sum()) > 1e-2 * gradient.norm() * z.norm()


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_codes_that_are_the_vectors_cost_nothing_and_random_ones_more(name: str) -> None:
    x, z = drawn(4, 60)
    perfect, near, far = (loss_of(name)(x, codes)[1].item() for codes in (x, z, torch.randn(60, 3)))
    assert perfect == pytest.approx(0, abs=1e-6)
    assert perfect < near < far


@pytest.mark.parametrize("name", sorted(LOSSES))
@pytest.mark.parametrize("geometry", ["euclidean", "cosine"])
def test_duplicates_and_collapsed_codes_have_finite_gradients(name: str, geometry: str) -> None:
    x, z = drawn(6, 70)
    x[10:30], z[10:40] = x[0], z[0]
    for codes in (z, torch.zeros_like(z), torch.ones_like(z), z[:1].repeat(70, 1)):
        codes = codes.clone().requires_grad_()
        loss = loss_of(name, lambda_pairdist=0.3, geometry=geometry)
        total, *_ = loss(x, codes)
        total.backward()
        assert total.isfinite()
        assert codes.grad is not None
        assert codes.grad.isfinite().all()
        assert codes.grad.norm() < 1e6


@pytest.mark.parametrize("name", ["DPLossV2", "DPLossV2Norm", "DPLossTopK"])
def test_balanced_terms_have_gradients_in_the_proportion_of_their_weights(name: str) -> None:
    x, z = drawn(7, 50)
    z.requires_grad_()
    weights = {"lambda_rank": 3.0, "lambda_pairdist": 0.5}
    total, rank, pair = loss_of(name, balance="auto", **weights)(x, z)
    by_rank = torch.autograd.grad(3.0 * rank, z, retain_graph=True)[0]
    by_pair = torch.autograd.grad(total - 3.0 * rank, z, retain_graph=True)[0]
    assert (by_rank.norm() / 3.0).item() == pytest.approx((by_pair.norm() / 0.5).item(), rel=1e-4)
    unbalanced = loss_of(name, **weights)(x, z)
    assert pair.item() == pytest.approx(unbalanced[2].item())
    assert rank.item() == pytest.approx(unbalanced[1].item())

    loss = loss_of(name, balance="auto", **weights)
    for quiet in (torch.no_grad(), torch.inference_mode()):
        with quiet:
            again = loss(x.clone(), z.clone())
        assert again[0].item() == pytest.approx(total.item(), rel=1e-5)
        assert not any(term.requires_grad for term in again)


def test_without_a_pair_weight_the_pair_term_is_zero() -> None:
    x, z = drawn(1)
    total, rank, pair = DPLossV2Norm()(x, z)
    assert pair.item() == 0
    assert total.item() == rank.item()


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_float32_under_autocast_and_order_of_the_batch(name: str) -> None:
    x, z = drawn(9, 64)
    loss = loss_of(name, lambda_pairdist=0.3, tau=0.5)
    expected = loss(x, z.bfloat16().float())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = loss(x, z.bfloat16())
    assert [term.dtype for term in found] == [torch.float32] * 3
    assert torch.equal(torch.stack(found), torch.stack(expected))
    order = torch.randperm(64, generator=torch.Generator().manual_seed(0))
    shuffled = loss(x[order], z[order])
    assert shuffled[0].item() == pytest.approx(loss(x, z)[0].item(), rel=1e-4)


def test_fewer_than_two_rows_are_worth_nothing() -> None:
    for count in (0, 1):
        z = torch.ones(count, 3, requires_grad=True)
        total, rank, pair = DPLossV2(lambda_pairdist=1.0)(torch.ones(count, 5), z)
        total.backward()
        assert total.item() == rank.item() == pair.item() == 0
        assert z.grad is not None
        assert not z.grad.any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tau_scale": "rows"}, "tau_scale is one of relative, absolute; got 'rows'"),
        ({"geometry": "angle"}, "geometry is one of"),
        ({"balance": "yes"}, "balance is one of"),
        ({"lambda_rank": -1.0}, "lambda_rank is 0 or more; got -1.0"),
        ({"lambda_pairdist": math.nan}, "lambda_pairdist is 0 or more"),
        ({"tau": 0.0}, "tau above 0"),
        ({"k": 0}, "k is at least 1"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        loss_of("DPLossV2", **options)


def test_tables_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match=r"got \(3, 2\) and \(4, 2\)"):
        DPLossV2()(torch.zeros(3, 2), torch.zeros(4, 2))


def test_euclidean_distances_and_their_gradient_are_those_of_cdist() -> None:
    vectors = torch.randn(40, 17, generator=torch.Generator().manual_seed(0)) + 100
    found_input, input64 = vectors.clone().requires_grad_(), vectors.double().requires_grad_()
    upstream = torch.randn(40, 40, generator=torch.Generator().manual_seed(1))
    found = euclidean_distances(found_input)
    expected = torch.cdist(input64, input64, compute_mode="donot_use_mm_for_euclid_dist")
    (found * upstream).sum().backward()
    (expected * upstream).sum().backward()
    assert torch.allclose(found.double(), expected, rtol=1e-5, atol=1e-6)
    assert found_input.grad is not None
    assert input64.grad is not None
    assert torch.allclose(found_input.grad.double(), input64.grad, rtol=1e-3, atol=1e-3)


def test_cosine_distances_do_not_depend_on_length() -> None:
    vectors = torch.randn(9, 5, generator=torch.Generator().manual_seed(0))
    expected = [
        [
            1 - sum(map(operator.mul, a, b)) / math.hypot(*a) / math.hypot(*b)
            for b in vectors.tolist()
        ]
        for a in vectors.tolist()
    ]
    for factor in (1.0, 1e-20, 1e20):
        assert torch.allclose(cosine_distances(vectors * factor), torch.tensor(expected), atol=1e-5)


def test_the_spread_is_the_deviation_and_never_zero() -> None:
    rows = torch.randn(4, 30, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(row_spread(rows)[:, 0], rows.std(1, unbiased=False))
    level = torch.full((1, 30), 2.0, requires_grad=True)
    row_spread(level).backward()
    assert row_spread(level).item() == pytest.approx(2e-4)
    assert level.grad is not None
    assert not level.grad.any()
