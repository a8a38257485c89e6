import pytest
import torch
from sslab.eval.measures.lidar import lidar
from sslab.eval.measures.spectrum import rankme
from sslab.ssl.core.errors import UserError
from torch import Tensor

IMAGES, VIEWS = 500, 25


def gaussian(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def informative() -> Tensor:
    """64 dimensions, of which 16 tell images apart."""
    centre = torch.cat([gaussian(IMAGES, 16), torch.zeros(IMAGES, 48)], 1)
    return (centre[:, None] + 0.1 * gaussian(IMAGES, VIEWS, 64, seed=1)).flatten(0, 1)


GROUP = torch.arange(IMAGES).repeat_interleave(VIEWS)


def test_counts_the_informative_directions(informative):
    assert lidar(informative, GROUP).item() == pytest.approx(15.87, abs=0.05)
    assert rankme(informative).item() == pytest.approx(35.3, abs=0.2)


def test_loud_noise_counts_for_nothing(informative):
    loud = torch.cat([informative[:, :16], 30 * informative[:, 16:]], 1)
    assert lidar(loud, GROUP).item() == pytest.approx(15.89, abs=0.05)
    assert rankme(loud).item() == pytest.approx(59.4, abs=0.2)


def test_invertible_maps_change_nothing_without_delta(informative):
    mixed = informative.double() @ (gaussian(64, 64, seed=2) + 8 * torch.eye(64)).double()
    torch.testing.assert_close(lidar(mixed, GROUP, delta=0.0), lidar(informative, GROUP, delta=0.0), rtol=1e-6, atol=0)


def test_order_and_names_of_groups_change_nothing(informative, monkeypatch):
    monkeypatch.setattr("sslab.eval.measures.lidar.CHUNK", 1000)
    order = torch.randperm(len(GROUP), generator=torch.Generator().manual_seed(0))
    found = lidar(informative[order], 7 * GROUP[order] + 3)
    monkeypatch.undo()
    torch.testing.assert_close(found, lidar(informative, GROUP))


def test_equals_the_generalised_eigenproblem():
    from scipy.linalg import eigh

    z = gaussian(40, 4, 6).double() + 2 * gaussian(40, 1, 6, seed=1)
    mean = z.mean(1)
    within = (z - mean[:, None]).flatten(0, 1)
    sigma_w = within.T @ within / (40 * 3) + 1e-4 * torch.eye(6)
    eigenvalue = eigh(mean.T.cov(), sigma_w, eigvals_only=True)
    p = eigenvalue / eigenvalue.sum() + 1e-7
    expected = torch.tensor(-(p * torch.tensor(p).log().numpy()).sum()).exp()
    torch.testing.assert_close(lidar(z.flatten(0, 1), torch.arange(40).repeat_interleave(4)), expected)


def test_never_more_than_images_allow():
    assert lidar(gaussian(20, 64), torch.arange(20) // 2).item() <= 9.01


@pytest.mark.parametrize("group", [torch.arange(6) // 5, torch.zeros(6, dtype=torch.long)])
def test_images_without_a_second_view_are_refused(group):
    with pytest.raises(UserError, match="LiDAR needs two images or more with two views or more of each"):
        lidar(gaussian(6, 3), group)
