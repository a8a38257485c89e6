import pytest
import torch
from embeddings import normal, siamese
from hypothesis import given, settings
from hypothesis import strategies as st
from sslab.ssl.core.errors import UserError
from sslab.ssl.core.step import Step
from sslab.ssl.losses.wmse import WMSE
from torch import Tensor


def whitened(z: Tensor) -> Tensor:
    """As in the paper: W(z - mean), with W the Cholesky factor of the inverse covariance."""
    inverse_root = torch.linalg.inv(torch.linalg.cholesky(torch.cov(z.T)))
    return torch.stack([inverse_root @ (row - z.mean(dim=0)) for row in z])


def test_whitened_embeddings_have_the_identity_as_covariance():
    z = WMSE().whitened(normal(32, 6) @ normal(6, 6, seed=1) + 5)
    torch.testing.assert_close(torch.cov(z.T), torch.eye(6, dtype=z.dtype), rtol=0, atol=0.02)
    torch.testing.assert_close(z.mean(dim=0), torch.zeros(6, dtype=z.dtype))


def test_it_is_the_distance_of_whitened_unit_vectors(golden):
    a, b = (torch.nn.functional.normalize(whitened(z), dim=1) for z in golden[:2])
    expected = (a - b).square().sum(dim=1).mean()
    torch.testing.assert_close(WMSE(shrinkage=1e-12)(siamese(golden[:2])).total, expected)
    torch.testing.assert_close(WMSE()(siamese(golden[:2])).total, expected, rtol=0, atol=0.05)


def test_no_more_images_than_span_the_space_become_a_regular_simplex(golden):
    """So four images in three dimensions: all at the same distance from the mean and from each other."""
    z = WMSE(shrinkage=1e-12).whitened(golden[0])
    unit = torch.nn.functional.normalize(z, dim=1)
    expected = torch.full((4, 4), -1 / 3, dtype=z.dtype).fill_diagonal_(1)
    torch.testing.assert_close(unit @ unit.T, expected)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_a_lower_triangular_map_of_a_view_is_immaterial(seed):
    z, loss = normal(2, 12, 4, seed=seed), WMSE(shrinkage=1e-13)
    triangular = normal(4, 4, seed=seed + 1).tril(-1) + torch.diag(1 + normal(4, seed=seed + 2).abs())
    mapped = torch.stack([z[0] @ triangular.T + 3, z[1]])
    torch.testing.assert_close(loss(siamese(mapped)).total, loss(siamese(z)).total, rtol=1e-6, atol=1e-6)


@settings(max_examples=50, deadline=None)
@given(key=st.integers(0, 2**62), n=st.integers(2, 100), size=st.integers(2, 40), iterations=st.integers(1, 3))
def test_every_image_is_in_one_part_of_every_partition(key, n, size, iterations):
    parts = list(WMSE(size, iterations).parts(key, n, 1))
    images = torch.cat(parts).view(iterations, n)
    torch.testing.assert_close(images.sort(dim=1).values, torch.arange(n).expand(iterations, n))
    sizes = [len(part) for part in parts]
    assert max(sizes) - min(sizes) <= 1
    assert min(sizes) >= min(size, n)


def test_the_partition_follows_from_the_key_of_the_step():
    z, loss = normal(2, 24, 3), WMSE(whitening_size=8)
    one, same, other = (loss(siamese(z, key=key)).total for key in (1, 1, 2))
    assert one == same
    assert one != other


def test_iterations_are_averaged_and_the_views_of_an_image_stay_together():
    z, loss = normal(2, 24, 3), WMSE(whitening_size=8, iterations=2)
    parts = list(loss.parts(7, 24, 3))
    assert len(parts) == 6
    alone = [WMSE()(siamese(z[:, part])).total for part in parts]
    expected = torch.stack(alone).mean()
    torch.testing.assert_close(loss(siamese(z, key=7)).total, expected)


def test_parts_have_twice_as_many_images_as_dimensions():
    assert [len(part) for part in WMSE().parts(0, 64, 8)] == [16] * 4


def test_finite_where_embeddings_have_collapsed_to_a_line():
    z = (normal(2, 64, 1) * torch.ones(32)).float().requires_grad_()
    total = WMSE()(siamese(z)).total
    (gradient,) = torch.autograd.grad(total, z)
    assert total.isfinite()
    assert gradient.isfinite().all()


def test_what_has_no_covariance_to_invert_is_refused():
    with pytest.raises(UserError, match="whitening_size=64 images have no invertible covariance of 64 dim.* 128"):
        WMSE(whitening_size=64, dim=64, batch_size=256)
    with pytest.raises(UserError, match=r"whitening_size=256 images \(by default .*=256\) are more than .*size=128"):
        WMSE(dim=128, batch_size=128)
    with pytest.raises(UserError, match="iterations=0"):
        WMSE(iterations=0)
    with pytest.raises(UserError, match="shrinkage=0.0"):
        WMSE(shrinkage=0.0)
    WMSE(whitening_size=128, dim=64, batch_size=128)


def test_weights_are_refused(golden):
    views = dict(enumerate(golden))
    with pytest.raises(UserError, match="WMSE has no value per sample"):
        WMSE()(Step.of(views, views, weight=torch.arange(4.0)))
