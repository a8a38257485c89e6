import pytest
import torch
from embeddings import normal, siamese
from hypothesis import given, settings
from hypothesis import strategies as st
from sslab.ssl.core.errors import UserError
from sslab.ssl.core.step import Step
from sslab.ssl.losses.amcl import AMCL
from sslab.ssl.losses.infonce import InfoNCE
from sslab.ssl.losses.policies.pair_temperature import AdaptiveTemperature, PairTemperature, omega
from torch import Tensor
from torch.nn.functional import normalize

REPULSIONS = ["max", "topk", "lse"]


def adaptive(dim: int = 5, heads: int = 1, **options) -> AdaptiveTemperature:
    torch.manual_seed(0)
    temperature = AdaptiveTemperature(dim, heads, **options)
    with torch.no_grad():
        temperature.bias.uniform_(-1, 1)
        for weight in temperature.phi.parameters():
            weight.mul_(1.5)  # temperatures well apart
    return temperature


def by_loops(z: Tensor, temperature: PairTemperature, beta: float, repulsion: str, k: int) -> Tensor:
    """Of two views, from the equations alone."""
    a, b = normalize(z, dim=-1)
    losses = []
    for own, other in ((a, b), (b, a)):
        for i in range(len(own)):

            def affinity(u: Tensor, own: Tensor = own, i: int = i) -> tuple[Tensor, Tensor]:
                tau = temperature.between(own[i], u, 0)
                return own[i] @ u, own[i] @ u / tau - omega(tau, z.shape[-1], beta)

            others = [affinity(view[j]) for view in (own, other) for j in range(len(own)) if j != i]
            hardest = sorted(others, key=lambda pair: -pair[0].item())
            g = torch.stack([pair[1] for pair in hardest])
            count = {"max": 1, "topk": k}.get(repulsion)
            losses.append((g.logsumexp(0) if count is None else g[:count].mean()) - affinity(other[i])[1])
    return torch.stack(losses).mean()


@pytest.mark.parametrize("repulsion", REPULSIONS)
@pytest.mark.parametrize("literal", [False, True])
def test_it_is_the_loops_of_the_paper(repulsion, literal):
    """In value and in every gradient."""
    z = normal(2, 6, 5).requires_grad_()
    temperature = adaptive(paper_literal=literal)
    over = [z, *temperature.parameters()]
    ours = AMCL(temperature, 0.7, repulsion, k=3)(siamese(z)).total
    loops = by_loops(z, temperature, 0.7, repulsion, k=3)
    torch.testing.assert_close(ours, loops)
    torch.testing.assert_close(torch.autograd.grad(ours, over), torch.autograd.grad(loops, over), rtol=1e-6, atol=1e-7)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32), tau=st.floats(0.05, 2.0), beta=st.floats(0, 2))
def test_a_constant_temperature_makes_the_margin_of_the_hardest_negative(seed, tau, beta):
    """Whatever beta: both regularisers are the same number."""
    z = normal(2, 6, 5, seed=seed)
    a, b = normalize(z, dim=-1)
    own = torch.eye(6, dtype=torch.bool)
    margins = []
    for x, y in ((a, b), (b, a)):
        negative = torch.cat([(x @ v.T).masked_fill(own, -1) for v in (x, y)], dim=1).amax(dim=1)
        margins.append((negative - (x * y).sum(dim=1)) / tau)
    torch.testing.assert_close(AMCL(tau, beta, "max")(siamese(z)).total, torch.stack(margins).mean())


def test_a_constant_temperature_and_lse_make_dcl_and_at_zero_the_margin():
    step = siamese(normal(2, 6, 5))
    dcl = InfoNCE(0.3, decouple=True)(step).total
    torch.testing.assert_close(AMCL(0.3, 1.3, "lse")(step).total, dcl)
    margin = AMCL(1.0, 0.0, "max")(step).total
    assert (1e-5 * AMCL(1e-5, 0.0, "lse")(step).total).item() == pytest.approx(margin.item(), abs=1e-4)


def test_topk_is_max_for_one_and_goes_to_the_mean_of_all():
    step = siamese(normal(2, 4, 5))
    torch.testing.assert_close(
        AMCL(adaptive(), repulsion="topk", k=1)(step).total, AMCL(adaptive(), repulsion="max")(step).total
    )
    all_of_them = AMCL(0.2, repulsion="topk", k=6)(step).total  # two views of three other images
    torch.testing.assert_close(AMCL(0.2, repulsion="topk", k=100)(step).total, all_of_them)


def test_the_negative_is_the_most_similar_and_not_the_one_with_the_highest_logit():
    class Steep(PairTemperature):
        """A lower temperature for the farther of two targets."""

        def between(self, query: Tensor, target: Tensor, head: int) -> Tensor:
            return torch.where((query * target).sum(dim=-1) > 0.6, 0.5, 0.1).to(query)

    q, k = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    near, far = [0.8, 0.6], [0.5, 0.75**0.5]
    known = {"memory": torch.tensor([near, far]), "memory_row": torch.tensor([8, 9])}
    known |= {name: torch.zeros(2, dtype=torch.long) for name in ("memory_group", "memory_label")}
    loss = AMCL(Steep(0.1, 0.5), 0.0, "max", negatives=[])
    assert loss(Step.of({0: q}, {1: k}, **known)).total.item() == pytest.approx(0.8 / 0.5)


@pytest.mark.parametrize("repulsion", REPULSIONS)
def test_heads_of_the_same_weights_make_the_loss_of_one(repulsion):
    z = normal(2, 6, 5)
    temperature = adaptive(heads=3)
    with torch.no_grad():
        temperature.bias.fill_(0.4)
    loss = AMCL(temperature, repulsion=repulsion)
    torch.testing.assert_close(loss(siamese(z[:, :, None].expand(-1, -1, 3, -1))).total, loss(siamese(z)).total)


def test_a_head_has_its_own_bias():
    z = normal(2, 6, 3, 5)
    temperature = adaptive(heads=3)
    each = []
    for head in range(3):
        alone = adaptive(heads=1)
        with torch.no_grad():
            alone.bias.copy_(temperature.bias[head])
        each.append(AMCL(alone)(siamese(z[:, :, head])).total)
    torch.testing.assert_close(AMCL(temperature)(siamese(z)).total, torch.stack(each).mean())


@pytest.mark.parametrize("repulsion", REPULSIONS)
def test_by_default_embeddings_have_the_gradient_of_frozen_temperatures(repulsion):
    class Frozen(AdaptiveTemperature):
        def forward(self, score: Tensor) -> Tensor:
            return super().forward(score).detach()

    torch.manual_seed(0)
    frozen, free = Frozen(5, paper_literal=True), AdaptiveTemperature(5)
    free.load_state_dict(frozen.state_dict())
    gradients = []
    for temperature in (frozen, free):
        z = normal(2, 6, 5).requires_grad_()
        AMCL(temperature, repulsion=repulsion)(siamese(z)).total.backward()
        gradients.append(z.grad)
    torch.testing.assert_close(gradients[0], gradients[1])
    assert all(p.grad is None for p in frozen.parameters())  # φ is reached through τ alone
    assert all(p.grad is not None for p in free.parameters())


@pytest.mark.parametrize("repulsion", REPULSIONS)
@pytest.mark.parametrize("chunk", [1, 7, 24])
def test_chunks_change_nothing(repulsion, chunk):
    results = []
    for size in (10**9, chunk):
        z, temperature = normal(2, 9, 5).requires_grad_(), adaptive(paper_literal=True)
        total = AMCL(temperature, repulsion=repulsion, k=3, chunk=size)(siamese(z)).total
        results.append((total.detach(), *torch.autograd.grad(total, [z, *temperature.parameters()])))
    torch.testing.assert_close(results[1], results[0], rtol=1e-6, atol=1e-7)  # φ is kept in float32


@pytest.mark.parametrize("repulsion", REPULSIONS)
def test_what_is_in_the_memory_or_hard_is_a_negative_like_any_other(repulsion):
    q, k, extra = normal(4, 5), normal(4, 5, seed=1), normal(3, 5, seed=2)
    known = {"memory": extra, "memory_row": torch.arange(90, 93)}
    known |= {name: torch.zeros(3, dtype=torch.long) for name in ("memory_group", "memory_label")}
    loss = AMCL(adaptive(), repulsion=repulsion, k=2, negatives=["cross"])
    expected = loss(Step.of({0: q}, {1: k}, **known))
    hard = {0: extra.expand(4, 3, 5)}
    found = loss(Step.of({0: q}, {1: k}, hard=hard))
    torch.testing.assert_close(found.total, expected.total)
    torch.testing.assert_close(found.terms, expected.terms)
    alone = AMCL(adaptive(), repulsion=repulsion, k=2, negatives=[])
    torch.testing.assert_close(
        alone(Step.of({0: q}, {1: k}, **known)).total, alone(Step.of({0: q}, {1: k}, hard=hard)).total
    )


@pytest.mark.parametrize("repulsion", REPULSIONS)
@pytest.mark.parametrize("field", ["row", "group"])
def test_an_image_without_negatives_is_only_drawn_to_its_target(repulsion, field):
    value = torch.zeros(4, dtype=torch.long) if field == "row" else torch.arange(4)
    z = normal(2, 4, 5).requires_grad_()
    output = AMCL(0.2, 0.0, repulsion)(siamese(z, **{field: value}))
    torch.testing.assert_close(output.total, -5 * output.terms["positive_similarity"])
    (gradient,) = torch.autograd.grad(output.total, z)
    assert gradient.isfinite().all()


def test_temperatures_are_logged():
    z, temperature = normal(2, 6, 5), adaptive()
    output = AMCL(temperature, repulsion="lse")(siamese(z))
    a, b = normalize(z, dim=-1)
    positive = temperature.between(a, b, 0)
    assert output.terms["positive_temperature"].item() == pytest.approx(positive.mean().item())
    assert output.terms["positive_temperature_min"] == positive.min()
    assert output.terms["positive_temperature_max"] == positive.max()
    every = torch.cat([a, b])
    pairs = temperature.between(every[:, None], every[None], 0)
    other = (torch.arange(12)[:, None] - torch.arange(12)) % 6 != 0
    assert output.terms["negative_temperature"].item() == pytest.approx(pairs[other].mean().item())
    assert output.terms["negative_temperature_min"].item() == pytest.approx(pairs[other].min().item())
    assert output.terms["negative_temperature_max"].item() == pytest.approx(pairs[other].max().item())
    near = (pairs[other] < 0.104) | (pairs[other] > 0.496)
    assert output.terms["negative_temperature_at_bound"].item() == pytest.approx(near.double().mean().item())


def test_no_negatives_at_all_are_refused():
    with pytest.raises(UserError, match="no negatives"):
        AMCL(0.2, negatives=[])(siamese(normal(2, 4, 5)))
    with pytest.raises(UserError, match="amcl.k=0"):
        AMCL(0.2, repulsion="topk", k=0)
