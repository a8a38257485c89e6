import pytest
import torch
from sslab.ssl.core.draws import mix, permutation
from sslab.ssl.core.errors import UserError
from sslab.ssl.core.step import Step
from sslab.ssl.latent.whiten import STREAM, Whiten
from sslab.ssl.losses.ops.inverse_root import inverse_root
from torch import Tensor, nn
from torch.nn.functional import normalize


def whitened(z: Tensor, groups: int, shrinkage: float = 0.0, key: int = 0) -> Tensor:
    return Whiten(groups, shrinkage)(Step.of({0: z}, {1: z.flip(0)}, key=key)).q[0]


@pytest.fixture
def z(normal) -> Tensor:
    return normal(64, 12) @ (torch.eye(12) + 0.2 * normal(12, 12, seed=1)) + 3


@pytest.mark.parametrize("groups", [1, 2, 4, 12])
def test_groups_have_mean_zero_and_covariance_one(z, groups):
    y = whitened(z, groups)
    order = permutation(mix(0, STREAM, 0), 12)
    torch.testing.assert_close(y.mean(0), torch.zeros(12).double(), rtol=0, atol=1e-13)
    for group in y[:, order].unflatten(1, (groups, -1)).unbind(1):
        covariance = group.T @ group / 64
        torch.testing.assert_close(covariance, torch.eye(len(covariance)).double(), rtol=0, atol=1e-13)
    assert y.square().sum(1).mean().item() == pytest.approx(12, abs=1e-12)


def test_one_group_is_the_symmetric_root_of_the_covariance(z):
    centred = z - z.mean(0)
    values, basis = torch.linalg.eigh(centred.T @ centred / 64)
    expected = centred @ basis @ torch.diag(values**-0.5) @ basis.T
    torch.testing.assert_close(whitened(z, 1), expected, rtol=1e-10, atol=1e-10)


def test_one_channel_a_group_is_a_batch_norm(z):
    norm = nn.BatchNorm1d(12, eps=1e-15, affine=False).double()
    for shrinkage in (0.0, 0.3):
        torch.testing.assert_close(whitened(z, 12, shrinkage), norm(z), rtol=1e-12, atol=1e-12)


def test_shrinkage_goes_from_full_whitening_to_a_common_scale(z):
    centred = z - z.mean(0)
    scaled = centred / centred.square().mean().sqrt()
    torch.testing.assert_close(whitened(z, 1, 1.0), scaled, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(whitened(z, 1, 1e-9), whitened(z, 1), rtol=1e-4, atol=1e-4)


def test_few_groups_make_shuffles_differ_and_one_does_not(normal):
    z = normal(512, 48) @ normal(48, 48, seed=1)

    def agreement(groups: int) -> float:
        a, b = (normalize(whitened(z, groups, key=key), dim=1) for key in (0, 1))
        return (a * b).sum(1).mean().item()

    assert agreement(1) == pytest.approx(1, abs=1e-12)
    assert agreement(2) < agreement(8) < agreement(16) < 1 - 1e-4
    assert agreement(48) == pytest.approx(1, abs=1e-12)


def test_views_are_shuffled_differently_and_queries_that_are_targets_stay_so(z):
    step = Whiten(2)(Step.of({0: z, 1: z}, {0: z, 1: z.clone()}))
    assert step.k[0] is step.q[0]
    assert step.k[1] is not step.q[1]
    assert torch.equal(step.k[1], step.q[1])
    assert not torch.isclose(step.q[0], step.q[1]).all()


def test_the_gradient_is_that_of_the_value(normal):
    z = normal(8, 4).requires_grad_()
    assert torch.autograd.gradcheck(lambda z: whitened(z, 2, 1e-3), z)


def test_the_matrix_may_be_a_constant(normal):
    """Its gradient then is that of a linear map: of the centred channels by the matrix that they have made."""
    z = normal(8, 4).requires_grad_()
    part = Whiten(1, 0.0, detach_matrix=True)
    upstream = normal(8, 4, seed=3)
    y = part(Step.of({0: z}, {1: z.flip(0)})).q[0]
    centred = (z - z.mean(0)).detach()
    values, basis = torch.linalg.eigh(centred.T @ centred / 8)
    expected = (upstream - upstream.mean(0)) @ basis @ torch.diag(values**-0.5) @ basis.T
    torch.testing.assert_close(torch.autograd.grad(y, z, upstream)[0], expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(y.detach(), whitened(z.detach(), 1))


def test_equal_eigenvalues_have_a_gradient(normal):
    covariance = torch.stack([torch.eye(3), 2 * torch.eye(3), torch.diag(torch.tensor([1.0, 1.0, 4.0]))]).double()
    assert torch.autograd.gradcheck(lambda c: inverse_root((c + c.mT) / 2), covariance.requires_grad_())
    assert torch.autograd.gradcheck(lambda c: inverse_root(c @ c.mT), normal(3, 3).requires_grad_())


@pytest.mark.parametrize("shrinkage", [0.0, 1e-5, 1e-3])
def test_flat_and_collapsed_batches_stay_finite(normal, shrinkage):
    flat = normal(16, 2, dtype=torch.float32) @ normal(2, 8, seed=1, dtype=torch.float32)  # of rank 2
    for z in (flat, torch.ones(16, 8)):
        z = z.clone().requires_grad_()
        y = whitened(z, 2, shrinkage)
        (y * normal(16, 8, dtype=torch.float32)).sum().backward()
        assert y.isfinite().all()
        assert z.grad is not None
        assert z.grad.isfinite().all()


def test_what_cannot_work_is_refused(z):
    with pytest.raises(UserError, match="12 channels do not split into groups=5"):
        Whiten(5, dim=12)
    with pytest.raises(UserError, match=r"batch of 16 .* groups of 64 channels: take groups=16 or more"):
        Whiten(2, dim=128, batch_size=16)
    with pytest.raises(UserError, match="groups=0"):
        Whiten(0)
    memory = {"memory": z, "memory_row": torch.arange(64), "memory_group": torch.arange(64)}
    with pytest.raises(UserError, match="put whiten before queue"):
        Whiten(2)(Step.of({0: z}, {1: z}, memory_label=torch.arange(64), **memory))
