import pytest
import torch
from embeddings import normal, siamese, value_and_gradient
from sslab.ssl.core.errors import UserError
from sslab.ssl.core.step import Step
from sslab.ssl.losses.cacr import CACR
from sslab.ssl.losses.infonce import InfoNCE
from torch import Tensor
from torch.nn.functional import normalize


@pytest.mark.parametrize("detach", [False, True])
@pytest.mark.parametrize(
    ("positive", "negative", "attraction", "repulsion"),
    [
        (0.0, 0.0, 2.812829012, -1.949232836),
        (1.0, 2.0, 3.253998188, -0.557182129),
        (1.0, 0.9, 3.253998188, -0.839150881),
    ],
)
def test_golden(golden, positive, negative, attraction, repulsion, detach):
    output = CACR(positive, negative, detach_weights=detach)(siamese(golden))
    assert output.terms["attraction"].item() == pytest.approx(attraction, abs=1e-9)
    assert output.terms["repulsion"].item() == pytest.approx(repulsion, abs=1e-9)
    assert output.total.item() == pytest.approx(attraction + repulsion, abs=1e-8)


def gradient(loss: torch.nn.Module, z: Tensor) -> Tensor:
    z = z.clone().requires_grad_()
    return torch.autograd.grad(loss(Step.of({0: z[0]}, {1: z[1]})).total, z)[0]


@pytest.mark.parametrize("scale", [0.9, 2.0])
def test_with_weights_detached_one_positive_makes_it_dcl(scale):
    z, t = normal(2, 6, 4), 1 / (2 * scale)
    dcl = InfoNCE(t, decouple=True, negatives=["cross"])
    detached = CACR(1.0, scale, detach_weights=True)
    torch.testing.assert_close(gradient(detached, z), 2 * t * gradient(dcl, z), rtol=1e-12, atol=1e-14)


def by_loops(q: Tensor, k: Tensor, memory: Tensor, positive: float, negative: float) -> Tensor:
    """The variant with a queue: negatives of a query are the queue and the other queries of its view."""
    views, images = q.shape[:2]
    attraction, repulsion = [], []
    for x in range(views):
        for i in range(images):
            far = torch.stack([(q[x, i] - k[y, i]).square().sum() for y in range(views) if y != x])
            attraction.append(((positive * far).softmax(0).detach() * far).sum())
            others = [*memory, *(q[x, j] for j in range(images) if j != i)]
            near = torch.stack([(q[x, i] - u).square().sum() for u in others])
            repulsion.append(-((-negative * near).softmax(0).detach() * near).sum())
    return torch.stack(attraction).mean() + torch.stack(repulsion).mean()


@pytest.mark.parametrize("views", [2, 3, 5])
def test_with_a_queue_every_view_repels_alike(views):
    z, memory = normal(views, 6, 4), normalize(normal(7, 4, seed=2), dim=1)
    k = normalize(normal(views, 6, 4, seed=1), dim=-1)
    known = {"memory": memory, "memory_row": torch.arange(50, 57)}
    known |= {name: torch.zeros(7, dtype=torch.long) for name in ("memory_group", "memory_label")}
    loss = CACR(1.0, 2.0, detach_weights=True, negatives=["queries"])

    def ours(z: Tensor) -> Tensor:
        return loss(Step.of(dict(enumerate(z)), dict(enumerate(k)), **known)).total

    def expected(z: Tensor) -> Tensor:
        return by_loops(normalize(z, dim=-1), k, memory, 1.0, 2.0)

    results = (value_and_gradient(value, z) for value in (ours, expected))
    torch.testing.assert_close(*results, rtol=1e-12, atol=1e-12)


def test_queries_that_are_not_targets_repel_in_both_directions():
    """With a teacher of its own no direction can stand for the other one."""
    q, k = normal(2, 6, 4), normal(2, 6, 4, seed=1)
    both = CACR()(Step.of({0: q[0], 1: q[1]}, {0: k[0], 1: k[1]})).terms["repulsion"]
    one = [CACR()(Step.of({a: q[a]}, {b: k[b]})).terms["repulsion"] for a, b in ((0, 1), (1, 0))]
    torch.testing.assert_close(both, torch.stack(one).mean())


def test_without_scales_costs_are_averaged():
    z = normalize(normal(3, 5, 4), dim=-1)
    terms = CACR(0.0, 0.0)(siamese(z)).terms
    cost = (z[:, :, None, None] - z).square().sum(-1)  # (x, i, y, j)
    off = ~torch.eye(5, dtype=torch.bool)
    ordered = [(0, 1), (0, 2), (1, 2)]
    attraction = torch.stack([cost[x, :, y].diagonal() for x, y in ordered]).mean()
    repulsion = -torch.stack([cost[x, :, y][off] for x, y in ordered]).mean()
    torch.testing.assert_close((terms["attraction"], terms["repulsion"]), (attraction, repulsion))


def test_far_positives_are_drawn_harder_and_near_negatives_pushed_harder():
    z = normal(4, 6, 4)
    weak, strong = (CACR(scale, scale)(siamese(z)).terms for scale in (0.5, 4.0))
    assert strong["attraction"] > weak["attraction"]  # the mean moves to the largest cost
    assert strong["repulsion"] > weak["repulsion"]  # and to the smallest


def test_at_a_large_scale_the_nearest_negative_alone_repels():
    z = normalize(normal(2, 6, 4), dim=-1)
    nearest = 2 - 2 * (z[0] @ z[1].T).fill_diagonal_(-1).amax(1)
    torch.testing.assert_close(CACR(1.0, 1e6)(siamese(z)).terms["repulsion"], -nearest.mean(), rtol=1e-9, atol=1e-9)


def test_equal_views_attract_no_more():
    z = normal(1, 5, 4).expand(3, 5, 4)
    assert CACR()(siamese(z)).terms["attraction"].item() == pytest.approx(0, abs=1e-12)


def test_a_weight_that_is_not_detached_may_turn_a_force_around():
    """dCR/dc_j = -w_j (1 - t (c_j - mean c)): negatives beyond mean + 1/t are attracted."""
    query = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    memory = torch.tensor([[1.0, 0.1], [-1.0, 0.1]], dtype=torch.float64, requires_grad=True)
    zeros = torch.zeros(2, dtype=torch.long)
    known = {"memory": memory, "memory_row": zeros - 1, "memory_group": zeros, "memory_label": zeros}
    for detach, expected in ((False, 1), (True, -1)):
        total = CACR(1.0, 2.0, attraction=0.0, detach_weights=detach, negatives=[])(
            Step.of({0: query}, {1: query}, **known)
        ).total
        (force,) = torch.autograd.grad(-total, memory)
        assert torch.sign(force[1] @ query[0]) == expected


def test_negative_scales_are_refused():
    with pytest.raises(UserError, match=r"negative_scale=-1\.0: expected 0 or more"):
        CACR(1.0, -1.0)
