import copy
from typing import Any

import pytest
import torch
from embeddings import normal
from hypothesis import given, settings
from hypothesis import strategies as st
from ranks import outcomes
from sslab.ssl.core.distributed import rank, total, world
from sslab.ssl.core.errors import UserError
from sslab.ssl.core.step import Batch, Step
from sslab.ssl.losses.infonce import InfoNCE
from sslab.ssl.losses.policies.class_gate import ClassGate, OpenGate
from sslab.ssl.losses.policies.temperature import Learned, PerRow
from sslab.ssl.losses.simlap import SimLAP, gated_similarity
from sslab.ssl.losses.sum import Sum
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, normalize
from torch.nn.parallel import DistributedDataParallel

CLASSES, DIM = 4, 5
classes = st.lists(st.integers(-1, CLASSES - 1), min_size=1, max_size=8)
few = settings(max_examples=25, deadline=None)
EXACT = {"rtol": 1e-10, "atol": 1e-10}


def simlap(**options: Any) -> SimLAP:
    torch.manual_seed(0)
    gate = ClassGate(CLASSES, DIM, embedding=8, hidden=16).double()
    return SimLAP(**{"gate": gate, "classes": CLASSES, "temperature": 0.3, **options})


def batch(label: list[int]) -> Batch:
    return Batch.of(torch.zeros(len(label), 3, 0, 0, dtype=torch.uint8), label=torch.tensor(label))


def siamese(z: Tensor, label: list[int], **known: Any) -> Step:
    views = dict(enumerate(z))
    return Step.of(views, views, batch(label), **known)


def by_loops(loss: SimLAP, step: Step) -> Tensor:
    """The definition, term by term, with gated targets of every anchor."""
    paired = copy.deepcopy(loss).paired(step)
    directions = [(a, b) for a in step.q for b in step.k if a != b]
    values = []
    for a, b in directions:
        terms, weights = [], []
        for i, (y, partner) in enumerate(zip(paired.label.tolist(), paired.partner.tolist(), strict=True)):
            gate, z = paired.gate[i], normalize(step.q[a][i], dim=0)
            keys = normalize(torch.cat([step.k[b], step.memory]), dim=1)
            bare = (gate * z * gate * keys).sum(dim=1)
            s = (cosine_similarity(gate * z, gate * keys, dim=1) if loss.similarity == "v1" else bare) / 0.3
            label, group = torch.cat([step.batch.label, step.memory_label]).tolist(), [*step.group, *step.memory_group]
            known = [j for j in range(len(label)) if y >= 0 and group[j] == group[i]]
            others = sum((s[j].exp() for j in known if label[j] not in (y, partner, -1)), torch.zeros(()))
            mine = [torch.log(s[j].exp() + others) - s[j] for j in known if label[j] == partner]
            share = 1 / len(mine) if loss.average == "anchors" and mine else 1.0
            terms += [share * term * step.weight[i] for term in mine]
            weights += [share * step.weight[i].double()] * len(mine)
        values.append(sum(terms, torch.zeros(())) / sum(weights, torch.zeros(())).clamp_min(1e-30))
    return torch.stack([value.double() for value in values]).mean()


@pytest.mark.parametrize("average", ["pairs", "anchors"])
@pytest.mark.parametrize("similarity", ["v1", "v2"])
@pytest.mark.parametrize("pairs", ["identical", "distinct", "arbitrary"])
@settings(max_examples=6, deadline=None)
@given(label=classes, seed=st.integers(0, 1000), chunk=st.integers(1, 40))
def test_it_equals_its_definition(pairs, similarity, average, label, seed, chunk):
    loss = simlap(pairs=pairs, similarity=similarity, average=average, chunk=chunk)
    known = {"key": seed, "weight": normal(len(label), seed=seed).abs().float(), "group": torch.arange(len(label)) % 2}
    z = normal(3, len(label), DIM, seed=seed)
    step = Step.of({0: z[0], 1: z[1]}, {1: z[1], 2: z[2]}, batch(label), **known)
    expected = by_loops(loss, step)
    torch.testing.assert_close(loss(step).total, expected, **EXACT)


@few
@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 99))
def test_the_product_form_is_the_cosine_of_gated_vectors(n, m, seed):
    z, k, gate = normal(n, DIM, seed=seed), normal(m, DIM, seed=seed + 1), normal(n, DIM, seed=seed + 2).sigmoid()
    expected = cosine_similarity((gate * z)[:, None], gate[:, None] * k, dim=2)
    torch.testing.assert_close(gated_similarity(z, k, gate, "v1"), expected, rtol=0, atol=1e-14)
    assert (gated_similarity(z, k, gate, "v1").abs() <= 1 + 1e-12).all()


@few
@given(st.floats(0.01, 10))
def test_a_constant_gate_is_an_open_one_but_scales_v2(constant):
    z, k = normalize(normal(4, DIM), dim=1), normalize(normal(3, DIM, seed=1), dim=1)
    gate = torch.full_like(z, constant)
    torch.testing.assert_close(gated_similarity(z, k, gate, "v1"), z @ k.T, **EXACT)
    torch.testing.assert_close(gated_similarity(z, k, gate, "v2"), constant**2 * z @ k.T, **EXACT)


@pytest.mark.parametrize("kind", ["v1", "v2"])
def test_a_closed_dimension_gets_no_gradient(kind):
    z, k, gate = normal(4, DIM).requires_grad_(), normal(3, DIM, seed=1).requires_grad_(), normal(4, DIM, seed=2).abs()
    gate[:, 2] = 0
    gated_similarity(z, k, gate, kind).square().sum().backward()
    for x in (z, k):
        assert x.grad is not None
        assert (x.grad[:, 2] == 0).all()
        assert (x.grad[:, [0, 1, 3, 4]] != 0).all()


def test_a_gate_that_is_closed_altogether_has_a_finite_gradient():
    z, k = normal(2, DIM).requires_grad_(), normal(3, DIM, seed=1)
    gate = torch.zeros(2, DIM, dtype=torch.float64, requires_grad=True)
    for gradient in torch.autograd.grad(gated_similarity(z, k, gate, "v1").sum(), (z, gate)):
        assert gradient.isfinite().all()


def test_of_instances_and_without_a_gate_it_is_infonce_across_views():
    z = normal(2, 6, DIM)
    loss = SimLAP(OpenGate(DIM), "identical", temperature=0.3, classes=6)
    expected = InfoNCE(0.3, negatives=["cross"])(siamese(z, list(range(6))))
    torch.testing.assert_close(loss(siamese(z, list(range(6)))).total, expected.total, **EXACT)


def test_of_classes_and_without_a_gate_it_is_supcon_with_each_positive_alone_in_its_denominator():
    z, label = normalize(normal(2, 6, DIM), dim=-1), torch.tensor([0, 0, 1, 2, 2, 2])
    same = label[:, None] == label
    values = []
    for logits in (z[0] @ z[1].T / 0.3, z[1] @ z[0].T / 0.3):
        negative = logits.exp().masked_fill(same, 0).sum(dim=1, keepdim=True)
        values.append(-(logits.exp() / (logits.exp() + negative)).log()[same].mean())
    loss = SimLAP(OpenGate(DIM), "identical", temperature=0.3)
    torch.testing.assert_close(loss(siamese(z, label.tolist())).total, torch.stack(values).mean(), **EXACT)


@few
@given(label=classes, key=st.integers(0, 2**40))
def test_arbitrary_partners_are_the_labelled_images_in_another_order(label, key):
    loss, labels = simlap(), torch.tensor(label)
    partner = loss.partners(labels, key)
    assert sorted(partner.tolist()) == sorted(label)
    assert ((partner < 0) == (labels < 0)).all()
    assert torch.equal(partner, loss.partners(labels, key))


@few
@given(label=st.lists(st.integers(0, CLASSES - 1), min_size=1, max_size=30), key=st.integers(0, 2**40))
def test_distinct_partners_are_any_other_class(label, key):
    labels = torch.tensor(label)
    partner = simlap(pairs="distinct").partners(labels, key)
    assert (partner != labels).all()
    assert ((partner >= 0) & (partner < CLASSES)).all()
    assert torch.equal(simlap(pairs="identical").partners(labels, key), labels)


def test_all_other_classes_are_partners_equally_often_and_change_from_step_to_step():
    labels = torch.zeros(3000, dtype=torch.long)
    partner = simlap(pairs="distinct").partners(labels, key=1)
    counts = partner.bincount(minlength=CLASSES).double()
    assert counts[0] == 0
    assert (counts[1:] - 1000).abs().max() < 100  # four standard deviations
    assert not torch.equal(partner, simlap(pairs="distinct").partners(labels, key=2))


@few
@given(label=classes, key=st.integers(0, 99))
def test_every_anchor_has_a_positive_and_no_negative_of_either_class(label, key):
    step = siamese(normal(2, len(label), DIM), label, key=key)
    paired = simlap().paired(step)
    positive, negative = paired.masks(slice(None), points(step))
    labels = torch.tensor(label)
    assert torch.equal(positive.any(dim=1), labels >= 0)
    assert not (positive & negative).any()
    for i, j in negative.nonzero().tolist():
        assert labels[j] not in (labels[i], paired.partner[i], -1)


def points(step: Step) -> Any:
    from sslab.ssl.losses.base.contrast import local

    return local(step, step.k[1])


def test_without_weight_on_classes_the_combination_is_moco_v3_and_moves_no_gate():
    z, instances = normal(4, 6, DIM).requires_grad_(), InfoNCE(0.2, negatives=["cross"])
    step = Step.of({0: z[0], 1: z[1]}, {0: z[2].detach(), 1: z[3].detach()}, batch([0, 1, 2, 0, 1, 3]))
    both = Sum({"instances": instances, "classes": simlap()}, {"instances": 1.0, "classes": 0.0})
    total_, expected = both(step).total, instances(step).total
    torch.testing.assert_close(total_, expected, **EXACT)
    gradients = torch.autograd.grad(total_, [z, *both.parameters()])
    torch.testing.assert_close(gradients[0], torch.autograd.grad(expected, z)[0], **EXACT)
    assert all((gradient == 0).all() for gradient in gradients[1:])


def test_both_branches_get_gradient_where_targets_have_one():
    z = normal(2, 6, DIM).requires_grad_()
    loss, label = simlap(), [0, 1, 2, 0, 1, 3]
    one_way = Step.of({0: z[0]}, {1: z[1]}, batch(label))
    (gradient,) = torch.autograd.grad(loss(one_way).total, z)
    assert (gradient != 0).any(dim=2).all()


@pytest.mark.parametrize("pairs", ["identical", "arbitrary"])
def test_a_memory_offers_keys_of_its_classes_and_its_groups(pairs):
    loss, z, memory = simlap(pairs=pairs), normal(2, 4, DIM), normal(6, DIM, seed=1)
    known = {"memory_row": torch.arange(90, 96), "memory_group": torch.tensor([0, 0, 0, 0, 1, -1])}
    of_memory = {"memory": memory, "memory_label": torch.tensor([0, 3, 2, -1, 1, 2]), **known}
    step = Step.of({0: z[0]}, {1: z[1]}, batch([0, 1, 2, 3]), **of_memory)
    expected = by_loops(loss, step)
    output = loss(step)
    torch.testing.assert_close(output.total, expected, **EXACT)
    assert output.terms["positives"] == 7 / 4  # of each class one in the batch; of three of them one in the memory


def test_what_has_no_label_moves_nothing():
    z, label = normal(2, 5, DIM).requires_grad_(), [0, -1, 1, -1, 2]
    some = torch.tensor([0, 2, 4])
    step, without = siamese(z, label, key=3), siamese(z[:, some], [0, 1, 2], key=3)
    output = simlap()(step)
    torch.testing.assert_close(output.total, simlap()(without).total, **EXACT)
    (gradient,) = torch.autograd.grad(output.total, z)
    assert (gradient[:, [1, 3]] == 0).all()


def test_without_any_label_the_loss_is_0_and_so_is_its_gradient():
    z = normal(2, 4, DIM).requires_grad_()
    output = simlap()(siamese(z, [-1] * 4))
    assert output.total == 0
    assert (torch.autograd.grad(output.total, z)[0] == 0).all()


def test_what_is_logged_is_what_it_says():
    step, loss = siamese(normal(2, 4, DIM), [0, 0, 0, 1]), simlap(pairs="identical", temperature=Learned(0.3))
    paired = copy.deepcopy(loss).paired(step)
    terms = loss(step).terms
    assert terms["positives"] == (3 + 3 + 3 + 1) / 4
    weight = torch.tensor([0.3, 0.3, 0.3, 0.1], dtype=torch.float64)
    torch.testing.assert_close(terms["gate"], (weight * paired.gate.mean(dim=1)).sum().detach(), **EXACT)
    torch.testing.assert_close(terms["temperature"].item(), 0.3)
    assert 0 < terms["gate_entropy"] < 0.6932  # log 2


def test_the_entropy_of_gates_is_added_with_its_weight():
    step = siamese(normal(2, 4, DIM), [0, 1, 2, 0])
    plain, more = simlap()(step), simlap(entropy=0.5)(step)
    torch.testing.assert_close(more.total, plain.total + 0.5 * plain.terms["gate_entropy"], **EXACT)


@pytest.mark.parametrize(("progress", "alone"), [(0.0, True), (0.19, True), (0.2, False), (0.9, False)])
def test_gates_learn_alone_in_their_epochs_and_the_value_does_not_tell(progress, alone):
    """Two epochs of ten: gates and temperature have the gradients that they would have, embeddings one of 0."""
    label, gradients, values = [0, 1, 2, 0, 1, 3], [], []
    for options in ({}, {"gate_epochs": 2.0, "epochs": 10.0}):
        z, loss = normal(2, 6, DIM).requires_grad_(), simlap(temperature=Learned(0.3), **options)
        value = loss(siamese(z, label, progress=progress)).total
        gradients.append(torch.autograd.grad(value, [z, *loss.parameters()]))
        values.append(value)
    torch.testing.assert_close(values[1], values[0], rtol=0, atol=0)
    torch.testing.assert_close(gradients[1][1:], gradients[0][1:], **EXACT)
    assert any((gradient != 0).any() for gradient in gradients[1][1:])
    torch.testing.assert_close(gradients[1][0], gradients[0][0] * (0 if alone else 1), rtol=0, atol=1e-12)


@pytest.mark.parametrize("epochs", [3, 7, 30])
def test_gates_learn_alone_for_whole_epochs(epochs):
    """Also where the progress at the end of an epoch comes out a little below it."""
    loss, per_epoch, total_ = simlap(gate_epochs=1.0, epochs=float(epochs)), 7, 7 * epochs
    for step in range(2 * per_epoch):
        z = normal(2, 3, DIM).requires_grad_()
        (gradient,) = torch.autograd.grad(loss(siamese(z, [0, 1, 2], progress=step / total_)).total, z)
        assert (gradient == 0).all() == (step < per_epoch)


def test_a_learned_temperature_gets_its_gradient():
    policy = Learned(0.3).double()
    loss = simlap(temperature=policy)

    def value(log_inverse: Tensor) -> Tensor:
        parameters = {"temperature.log_inverse": log_inverse}
        return torch.func.functional_call(loss, parameters, (siamese(normal(2, 6, DIM), [0, 1, 2, 0, 1, 3]),)).total

    assert torch.autograd.gradcheck(value, policy.log_inverse.detach().clone().requires_grad_())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": 0}, "SimLAP needs labels, but this data set has none"),
        ({"classes": 1, "pairs": "distinct"}, "pairs=distinct needs two classes, but there are 1"),
        ({"gate": OpenGate(DIM), "gate_epochs": 2.0}, "gate_epochs=2.0 trains gates alone, but an open gate"),
        ({"temperature": PerRow(8)}, "does not tell a temperature for every row"),
    ],
)
def test_what_cannot_work_is_refused(options, message):
    with pytest.raises(UserError, match=message):
        simlap(**options)


class Model(nn.Module):
    """An encoder and the loss of what it makes, in one module as DDP wants it."""

    def __init__(self, pairs: Any, **options: Any) -> None:
        super().__init__()
        self.loss = simlap(pairs=pairs, entropy=0.1, **options)
        self.encoder = nn.Linear(6, DIM, bias=False, dtype=torch.float64)

    def forward(self, images: Tensor, label: list[int]) -> Tensor:
        return self.loss(siamese(self.encoder(images), label, key=7)).total


def under_ranks() -> dict[str, Any]:
    """The value, every gradient and the gate's statistics after two steps of batches that differ between ranks."""
    label, share = [0, 1, 0, -1, 3, 1, 2, 0], slice(rank() * 8 // world(), (rank() + 1) * 8 // world())
    found = {}
    alone = {"gate_epochs": 1.0, "epochs": 1.0}  # for the whole run
    for pairs, options in (("identical", {}), ("distinct", {}), ("arbitrary", {}), ("arbitrary", alone)):
        model = Model(pairs, **options)
        wrapped = DistributedDataParallel(model) if world() > 1 else model
        for seed in (0, 1):
            model.zero_grad()
            value = wrapped(normal(2, 8, 6, seed=seed)[:, share], label[share])
            value.backward()
        gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
        found[f"{pairs} {options}"] = {"value": total(value) / world(), **gradients, **dict(model.named_buffers())}
    return found


def test_ranks_make_the_gates_and_statistics_of_one_process(tmp_path):
    expected = under_ranks()
    for found in (found for ranks in outcomes(under_ranks, (2, 4), tmp_path).values() for found in ranks):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
