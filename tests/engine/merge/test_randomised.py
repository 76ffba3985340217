"""The first singular vectors by random projection: right where they are given, not given where they would be wrong."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from engine.merge.randomised import leading


def matrix(values: np.ndarray, rows: int, columns: int) -> torch.Tensor:
    random = np.random.default_rng(5)
    left = np.linalg.qr(random.normal(size=(rows, len(values))))[0]
    right = np.linalg.qr(random.normal(size=(columns, len(values))))[0]
    return torch.from_numpy(left * values @ right.T).float()


@pytest.mark.parametrize(("rows", "columns"), [(320, 768), (640, 320)])
def test_what_it_finds_is_the_best_of_its_rank(rows, columns) -> None:
    values = 2.0 ** -np.arange(0, 30, 0.25)
    whole = matrix(values, rows, columns)
    found = leading(whole, 16)
    assert found is not None
    left, kept, right = found
    assert kept.shape == (16,)
    assert np.allclose(kept.numpy(), values[:16], rtol=1e-3)
    error = float((left * kept @ right - whole.double()).norm())
    assert error == pytest.approx(np.linalg.norm(values[16:]), rel=1e-3)
    # A training has noise beneath it.
    noisy = whole + torch.randn(whole.shape, generator=torch.Generator().manual_seed(1)) * 1e-3
    given = leading(noisy, 16)
    if given is not None:
        error = float((given[0] * given[1] @ given[2] - noisy.double()).norm())
        tail = np.linalg.norm(np.linalg.svd(noisy.double().numpy(), compute_uv=False)[16:])
        assert error == pytest.approx(tail, rel=1e-3)


def test_it_gives_nothing_where_it_could_not_keep_its_bound() -> None:
    # All singular values alike: which sixteen are the largest cannot be told, and none is nearer.
    flat = torch.randn(400, 400, generator=torch.Generator().manual_seed(2))
    found = leading(flat, 16)
    if found is not None:
        error = float((found[0] * found[1] @ found[2] - flat.double()).norm())
        tail = np.linalg.norm(np.linalg.svd(flat.double().numpy(), compute_uv=False)[16:])
        assert error == pytest.approx(tail, rel=1e-3)
    # Too small to be worth it, and nothing at all.
    assert leading(torch.randn(40, 40), 8) is None
    assert leading(torch.zeros(400, 400), 8) is None
