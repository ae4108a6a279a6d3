from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from sightline.losses.neighbour_divergence import neighbour_divergence
from sightline.losses.rank_distance import DPLossNeighbours
from sightline.losses.rank_geometry import euclidean_distances, others


def drawn(seed: int, count: int = 12) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(count, 6, generator=random)
    return x, x[:, :2] + 0.2 * torch.randn(count, 2, generator=random)


def slow(x: Tensor, z: Tensor, k: int, tau: float) -> float:
    """The definition, one pair after the other."""
    count, total = len(x), 0.0
    for i in range(count):
        near = {j: math.dist(x[i].tolist(), x[j].tolist()) ** 2 for j in range(count) if j != i}
        found = {j: math.dist(z[i].tolist(), z[j].tolist()) ** 2 for j in near}
        ordered = sorted(near.values())
        width = tau * (ordered[min(k, count - 1) - 1] - ordered[0] or ordered[0])
        p = {j: math.exp(-d / width) for j, d in near.items()}
        q = {j: math.exp(-d / width) for j, d in found.items()}
        for j in near:
            one, other = p[j] / sum(p.values()), q[j] / sum(q.values())
            total += one * math.log(one / other)
    return total / count


@pytest.mark.parametrize(("k", "tau"), [(3, 1.0), (1, 1.0), (5, 0.5), (40, 2.0)])
def test_it_is_the_divergence_of_the_definition(k: int, tau: float) -> None:
    x, z = drawn(k)
    rows = [others(euclidean_distances(one)) for one in (x, z)]
    found = neighbour_divergence(rows[0], rows[1], k=k, tau=tau)
    assert found.item() == pytest.approx(slow(x, z, k, tau), rel=1e-3)
    _, rank, _ = DPLossNeighbours(k=k, tau=tau)(x, z)
    assert rank.item() == pytest.approx(found.item())


def test_nothing_is_lost_where_distances_are_kept() -> None:
    x, _ = drawn(0)
    turned = x @ torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(1)))[0]
    assert DPLossNeighbours(k=3)(x, turned)[1].item() == pytest.approx(0, abs=1e-5)
    assert DPLossNeighbours(k=3)(x, 2 * x)[1].item() > 0.01, "it depends on scale"


def test_copies_of_all_neighbours_have_a_width_and_finite_gradients() -> None:
    x = torch.zeros(8, 4)
    x[4:] = 1.0
    z = torch.randn(8, 2, generator=torch.Generator().manual_seed(0), requires_grad=True)
    loss = DPLossNeighbours(k=3)(x, z)[0]
    loss.backward()
    assert torch.isfinite(loss)
    assert z.grad is not None
    assert torch.isfinite(z.grad).all()


@pytest.mark.parametrize("count", [0, 1, 2])
def test_too_few_rows_cost_nothing(count: int) -> None:
    z = torch.ones(count, 2, requires_grad=True)
    DPLossNeighbours(k=3)(torch.ones(count, 3), z)[0].backward()
    assert z.grad is not None
    assert not z.grad.any()
