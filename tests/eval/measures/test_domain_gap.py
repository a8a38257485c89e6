import math

import pytest
import torch
from sslab.eval.measures.domain_gap import centroid_distance, domain_gap, separability, within_spread
from sslab.eval.measures.spectrum import rankme
from sslab.ssl.core.errors import UserError
from torch import Tensor


def normal(n: int, d: int = 6, seed: int = 0) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def test_centroids_and_spread_of_a_known_case() -> None:
    real = torch.tensor([[3.0, 0.0], [0.0, 5.0]])
    generated = torch.tensor([[-2.0, 0.0], [0.0, -1.0]])
    assert centroid_distance(real, generated).item() == pytest.approx(math.sqrt(2))
    assert within_spread(real, generated).item() == pytest.approx(math.sqrt(0.5))
    assert centroid_distance(real, 10 * real).item() == pytest.approx(0)
    assert centroid_distance(real[:1], -real[:1]).item() == pytest.approx(2)


def test_sets_of_one_distribution_cannot_be_told_apart() -> None:
    found = domain_gap(normal(400), normal(500, seed=1))
    assert abs(found.separability - 0.5) < 0.07
    assert found.relative_distance < 0.2
    assert found.real_rankme == pytest.approx(found.generated_rankme, rel=0.02)


def test_a_shift_is_seen_and_grows() -> None:
    gaps = [domain_gap(normal(200), normal(200, seed=1) + shift * torch.eye(6)[0]) for shift in (0.0, 1.0, 4.0)]
    for name in ("centroid_distance", "relative_distance", "separability"):
        small, middle, large = (getattr(gap, name) for gap in gaps)
        assert small < middle < large
    assert gaps[2].separability > 0.95


def test_separability_counts_both_sets_alike_and_scale_does_not_matter() -> None:
    real, generated = normal(300), normal(30, seed=1)
    assert abs(separability(real, generated) - 0.5) < 0.15  # 0.91 by saying real every time
    shifted = generated + torch.eye(6)[0]
    scale = torch.tensor([1e-3, 1.0, 1.0, 1e3, 1.0, 1.0])
    assert separability(real * scale, shifted * scale) == pytest.approx(separability(real, shifted), abs=1e-6)


def test_rankme_is_of_equally_many_rows_and_a_collapse_shows() -> None:
    real, flat = normal(300), normal(100, seed=1) * torch.tensor([1, 1, 1e-9, 1e-9, 1e-9, 1e-9])
    found = domain_gap(real, flat)
    assert found.generated_rankme == pytest.approx(rankme(flat).item(), rel=1e-6)
    assert found.generated_rankme < 2.1 < 5 < found.real_rankme


def test_the_seed_decides_and_nothing_else() -> None:
    sets = normal(60), normal(40, seed=1)
    assert domain_gap(*sets, seed=3) == domain_gap(*sets, seed=3)
    assert domain_gap(*sets, seed=3) != domain_gap(*sets, seed=4)


def test_too_few_images() -> None:
    with pytest.raises(UserError, match="40 real and 4 generated images: expected 5 or more of each"):
        domain_gap(normal(40), normal(4))
