"""Sums of a smooth kernel over all pairs of a row, on a grid or pair by pair.

R rows of M places each, G nodes of a grid. A place is a distance in units of the temperature,
counted from the nearest of its row, so that it starts at 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import TypeAlias

import torch
from torch import Tensor

Kernel: TypeAlias = Callable[[Tensor], Tensor]

NODES_PER_UNIT = 4
"""With six nodes around each place an interpolated sigmoid is within 4e-7 of the true one."""
STENCIL = (-2, -1, 0, 1, 2, 3)
SCALES = tuple(1 / math.prod(here - node for node in STENCIL if node != here) for here in STENCIL)
"""The constant factors of Lagrange's polynomials."""
LARGEST_GRID = 1 << 15
"""Nodes beyond which float32 no longer places a value well between two of them."""
SMALLEST_ROW = 48
"""Rows shorter than this are sooner compared pair by pair."""


def centred_sigmoid(differences: Tensor) -> Tensor:
    """σ(x) - ½ in the shape of x; odd, so that what a row shares cancels before it is rounded."""
    return torch.sigmoid(differences).sub_(0.5)


def sigmoid_slope(differences: Tensor) -> Tensor:
    """σ'(x) = σ(x) (1 - σ(x)) in the shape of x."""
    half = torch.sigmoid(differences)
    return half.mul_(1.0 - half)


def kernel_sums(places: Tensor, masses: Tensor | None, kernels: Sequence[Kernel]) -> list[Tensor]:
    """Σ_j m_j kernel(p_i - p_j) of each kernel, (R, M) float32, j = i included.

    `places` (R, M) start at 0 in each row; `masses` (R, M), or None for ones. Rows whose places
    need no more nodes than pay off go over a grid; the others, those with a number that is not
    finite among them, pair by pair.
    """
    count = places.shape[1]
    if count < SMALLEST_ROW:
        return pairwise_sums(places, masses, kernels)
    far = ~(places.amax(1) * NODES_PER_UNIT <= min(LARGEST_GRID, count * count // 16))
    if not far.any():
        return grid_sums(places, masses, kernels)
    sums = [torch.empty_like(places) for _ in kernels]
    for rows, summed in ((far, pairwise_sums), (~far, grid_sums)):
        if rows.any():
            chosen = None if masses is None else masses[rows]
            for whole, part in zip(sums, summed(places[rows], chosen, kernels), strict=True):
                whole[rows] = part
    return sums


def grid_sums(places: Tensor, masses: Tensor | None, kernels: Sequence[Kernel]) -> list[Tensor]:
    """As `kernel_sums`, in O(M + G log G) for each row and the memory of some rows.

    The masses are spread over the nodes of an even grid, the grid is convolved with the kernel by
    FFT, and the sums are read off at the places: particle-mesh summation (Hockney and Eastwood,
    "Computer Simulation Using Particles", chapter 5, 1981), with Lagrange interpolation of degree
    5 both ways. The kernels have to vanish, or to be even or odd, to both sides.
    """
    nodes = int(places.max() * NODES_PER_UNIT) + len(STENCIL)
    size = _transform_size(2 * nodes)
    lags = torch.arange(-nodes, nodes, device=places.device, dtype=places.dtype) / NODES_PER_UNIT
    spectra = [_spectrum(kernel(lags), size) for kernel in kernels]
    sums = [torch.empty_like(places) for _ in kernels]
    for rows in _blocks(len(places), max(size, places.shape[1]), places.device):
        cells, weights = _interpolation(places[rows] * NODES_PER_UNIT, nodes)
        table = places.new_zeros(cells.numel() * nodes // places.shape[1])
        for node, (weight, scale) in enumerate(zip(weights, SCALES, strict=True)):
            mass = weight if masses is None else weight * masses[rows].flatten()
            table[node:].index_add_(0, cells, mass, alpha=scale)
        transformed = torch.fft.rfft(table.view(-1, nodes), n=size)
        for whole, spectrum in zip(sums, spectra, strict=True):
            field = torch.fft.irfft(transformed * spectrum, n=size)[:, :nodes].flatten()
            whole[rows] = _read_off(field, cells, weights).view_as(whole[rows])
    return sums


def pairwise_sums(places: Tensor, masses: Tensor | None, kernels: Sequence[Kernel]) -> list[Tensor]:
    """As `kernel_sums`, by definition: O(M²) for each row, in blocks of bounded memory."""
    rows_count, count = places.shape
    sums = [torch.empty_like(places) for _ in kernels]
    for rows in _blocks(rows_count, count * count, places.device):
        others = places[rows, None, :]
        mass = None if masses is None else masses[rows, None, :]
        for part in _blocks(count, len(others) * count, places.device):
            differences = places[rows, part, None] - others
            for whole, kernel in zip(sums, kernels, strict=True):
                values = kernel(differences)
                # No matrix product: a user's TF32 setting would round it.
                whole[rows, part] = (values if mass is None else values.mul_(mass)).sum(2)
    return sums


def _blocks(rows: int, row_size: int, device: torch.device) -> Iterator[slice]:
    """Slices of rows that hold about as many numbers as a processor's cache."""
    numbers = 1 << (17 if device.type == "cpu" else 24)
    step = max(1, numbers // max(1, row_size))
    for start in range(0, rows, step):
        yield slice(start, start + step)


def _transform_size(least: int) -> int:
    """The smallest 2^a or 3·2^a that is not below `least`: lengths that are quick to transform."""
    power = 1 << (least - 1).bit_length()
    return power * 3 // 4 if power * 3 // 4 >= least else power


def _spectrum(kernel: Tensor, size: int) -> Tensor:
    """The transform of a kernel given at the lags -n ... n - 1, as a filter of length `size`."""
    nodes = len(kernel) // 2
    around = kernel.new_zeros(size)
    around[:nodes] = kernel[nodes:]
    around[size - nodes :] = kernel[:nodes]
    spectrum: Tensor = torch.fft.rfft(around)
    return spectrum


def _interpolation(nodes_from_start: Tensor, nodes: int) -> tuple[Tensor, list[Tensor]]:
    """The first node of each place's stencil in the flat table, and Lagrange's weights, unscaled.

    All are flat, (R M).
    """
    whole = nodes_from_start.floor()
    fraction = (nodes_from_start - whole).flatten()
    starts = torch.arange(len(whole), device=whole.device)[:, None] * nodes
    cells = (whole.long() + starts).flatten()
    factors = [fraction - node for node in STENCIL]
    before = list(accumulate(factors[:-1], torch.mul))
    after = list(accumulate(factors[:0:-1], torch.mul))[::-1]
    between = [left * right for left, right in zip(before, after[1:], strict=False)]
    return cells, [after[0], *between, before[-1]]


def _read_off(field: Tensor, cells: Tensor, weights: Sequence[Tensor]) -> Tensor:
    """The field of a flat table, interpolated at the places (R M)."""
    total = torch.zeros_like(weights[0])
    for node, (weight, scale) in enumerate(zip(weights, SCALES, strict=True)):
        total.addcmul_(field[node:].index_select(0, cells), weight, value=scale)
    return total
