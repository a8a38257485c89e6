"""What holds for every loss: one in conf/loss is tested here by being there."""

import inspect
from pathlib import Path
from typing import Any

import pytest
import sslab.conf
import torch
from hydra.utils import get_class, instantiate
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from ranks import outcomes
from sslab.ssl.distributed import rank, total, world
from sslab.ssl.errors import UserError
from sslab.ssl.losses.output import Output
from sslab.ssl.step import Step
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

CONFIGS: dict[str, Any] = {
    file.stem: OmegaConf.load(file) for file in Path(sslab.conf.__path__[0], "loss").glob("*.yaml")
}
SMOOTH = {"dclw": {"sigma": 1e9}}  # makes constant what the loss does not differentiate

every_loss = pytest.mark.parametrize("name", sorted(CONFIGS))


def make(name: str, **options: Any) -> nn.Module:
    """The loss `name`, with those of the options that it knows."""
    known = inspect.signature(get_class(CONFIGS[name]["_target_"])).parameters
    return instantiate(CONFIGS[name], _convert_="all", **{k: v for k, v in options.items() if k in known})


def siamese(*z: Tensor, **known: Any) -> Step:
    views = dict(enumerate(z))
    return Step.of(views, views, **known)


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@every_loss
def test_finite_with_two_images(name):
    z = normal(2, 2, 8, dtype=torch.float32).requires_grad_()
    output = make(name)(siamese(*z))
    output.total.backward()
    assert output.total.isfinite()
    assert z.grad is not None
    assert z.grad.isfinite().all()


@every_loss
def test_finite_with_equal_features_at_a_low_temperature(name):
    z = torch.ones(2, 16, 8, requires_grad=True)
    output = make(name, temperature=0.05)(siamese(*z))
    output.total.backward()
    assert all(value.isfinite() for value in (output.total, *output.terms.values()))
    assert z.grad is not None
    assert z.grad.isfinite().all()


@every_loss
def test_a_broken_embedding_is_not_hidden(name):
    z = normal(2, 4, 8)
    z[1, 2, 3] = torch.nan
    assert make(name)(siamese(*z)).total.isnan()


@every_loss
def test_gradient_is_that_of_the_value(name):
    loss = make(name, **SMOOTH.get(name, {}))
    z = normal(2, 4, 3).requires_grad_()
    assert torch.autograd.gradcheck(lambda z: loss(siamese(*z)).total, z)


@every_loss
def test_terms_are_for_the_log_alone(name):
    output = make(name)(siamese(*normal(2, 4, 3).requires_grad_()))
    assert isinstance(output, Output)
    assert output.total.requires_grad
    assert not any(value.requires_grad for value in output.terms.values())


@every_loss
@pytest.mark.parametrize("chunk", [1, 7, 24, 10**6])
def test_chunked_equals_dense(name, chunk):
    results = []
    for size in (10**9, chunk):
        z = normal(2, 9, 5).requires_grad_()
        value = make(name, chunk=size)(siamese(*z)).total
        results.append((value.detach(), *torch.autograd.grad(value, z)))
    torch.testing.assert_close(results[1], results[0], rtol=1e-12, atol=1e-12)


@every_loss
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32), images=st.integers(2, 6), views=st.integers(2, 3))
def test_order_of_images_and_views_and_the_basis_are_immaterial(name, seed, images, views):
    z = normal(views, images, 4, seed=seed)
    order = torch.randperm(images, generator=torch.Generator().manual_seed(seed))
    rotation = torch.linalg.qr(normal(4, 4, seed=seed + 1)).Q
    loss = make(name)
    expected = loss(siamese(*z)).total
    for changed in (z[:, order], z.flip(0), z @ rotation, 3 * z):
        torch.testing.assert_close(loss(siamese(*changed)).total, expected, rtol=1e-9, atol=1e-9)


@every_loss
def test_autocast_changes_nothing_for_float32_and_little_for_bfloat16(name):
    def value_and_gradient(z: Tensor, enabled: bool) -> tuple[Tensor, Tensor]:
        z = z.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            value = make(name)(siamese(*z)).total
            value.backward()  # inside, as careless training loops do
        assert z.grad is not None
        return value.detach(), z.grad.float()

    z = normal(2, 32, 16, dtype=torch.float32)
    exact = value_and_gradient(z, enabled=False)
    torch.testing.assert_close(value_and_gradient(z, enabled=True), exact, rtol=0, atol=0)
    half = value_and_gradient(z.bfloat16(), enabled=True)
    torch.testing.assert_close(half[0], exact[0], rtol=1e-2, atol=1e-2)


@every_loss
def test_falls_under_adam(name):
    z = nn.Parameter(normal(2, 64, 8, dtype=torch.float32))
    loss, optimiser = make(name), torch.optim.Adam([z], lr=0.05)
    values = []
    for _ in range(50):
        optimiser.zero_grad()
        value = loss(siamese(*z)).total
        value.backward()
        optimiser.step()
        values.append(value.item())
    assert values[-1] < values[0] - 0.1


def scenarios() -> dict[str, dict[str, Tensor]]:
    """Steps over a global batch of eight images: what the fields of the step hold beside the embeddings."""
    memory = {"memory": normal(6, 4, seed=5), "memory_row": torch.tensor([0, 1, 90, 91, 5, 93])}
    memory["memory_group"] = torch.zeros(6, dtype=torch.long)
    return {
        "plain": {},
        "weights": {"weight": torch.arange(1.0, 9.0)},
        "groups": {"group": torch.tensor([0, 1, 0, 0, 1, 1, 0, 1])},
        "repeated images": {"row": torch.tensor([3, 1, 4, 1, 5, 9, 2, 3])},
        "memory": memory,
    }


def under_ranks() -> dict[tuple[str, str, bool], Any]:
    """For every loss: its global value and the encoder's gradient as DDP makes it, from this rank's images."""
    encoder = nn.Linear(5, 4, bias=False, dtype=torch.float64)
    with torch.no_grad():
        encoder.weight.copy_(normal(4, 5, seed=1))
    encode = DistributedDataParallel(encoder) if world() > 1 else encoder
    return {
        (name, scenario, separate): value_and_gradient(name, encode, known, separate)
        for name in sorted(CONFIGS)
        for scenario, known in scenarios().items()
        for separate in (False, True)
    }


def value_and_gradient(name: str, encode: nn.Module, known: dict[str, Tensor], separate: bool) -> Any:
    """With `separate` targets from another encoder, without gradient, and in other views than the queries."""
    images = normal(3, 8, 5) * torch.arange(1.0, 9.0)[:, None]  # ranks differ in content and in scale
    share = slice(rank() * 8 // world(), (rank() + 1) * 8 // world())
    q = dict(enumerate(encode(images[:, share])))
    k = {1: images[1, share] @ normal(5, 4, seed=2), 2: images[2, share] @ normal(5, 4, seed=2)} if separate else q
    local = {field: value if field.startswith("memory") else value[share] for field, value in known.items()}
    try:
        output = make(name)(Step.of(q, k, **({"row": torch.arange(8)[share]} | local)))
    except UserError as refusal:
        return str(refusal)
    (weight,) = encode.parameters()
    weight.grad = None
    output.total.backward()
    values = {"total": output.total, **output.terms}
    return {key: total(value) / world() for key, value in values.items()} | {"gradient": weight.grad}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[int, list[Any]]:
    return {1: [under_ranks()]} | outcomes(under_ranks, (2, 4), tmp_path_factory.mktemp("ranks"))


@every_loss
@pytest.mark.parametrize("separate", [False, True], ids=["siamese", "separate"])
@pytest.mark.parametrize("scenario", sorted(scenarios()))
def test_ranks_make_the_value_and_gradient_of_one_process(results, name, scenario, separate):
    expected = results[1][0][name, scenario, separate]
    for outcome in results[2] + results[4]:
        torch.testing.assert_close(outcome[name, scenario, separate], expected, rtol=1e-9, atol=1e-9)


@every_loss
def test_weights_are_heeded_or_refused(results, name):
    plain, weighted = (results[1][0][name, scenario, False] for scenario in ("plain", "weights"))
    assert isinstance(weighted, str) or not torch.equal(plain["total"], weighted["total"])
