import pytest
import torch
from sslab.ssl.losses.ops.nearest import nearest


@pytest.mark.parametrize("chunk", [1, 7, 10**6])
def test_the_nearest_come_from_the_largest_down_and_the_excluded_last(chunk):
    generator = torch.Generator().manual_seed(0)
    query, candidates = (torch.randn(n, 3, generator=generator, dtype=torch.float64) for n in (4, 6))
    mask = torch.rand(4, 6, generator=generator) < 0.4
    mask[1] = torch.tensor([False, *[True] * 5])
    similarity, place = nearest(query, candidates, lambda part: mask[part], 3, chunk)
    expected = (query @ candidates.T).masked_fill(mask, -torch.inf).sort(dim=1, descending=True)
    assert torch.equal(similarity, expected.values[:, :3])
    found = similarity > -torch.inf
    assert found[1].tolist() == [True, False, False]
    assert torch.equal(place[found], expected.indices[:, :3][found])
