import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sslab.ssl.losses.policies.class_gate import ClassGate, OpenGate


def gate(classes: int = 5, dim: int = 7, seed: int = 0) -> ClassGate:
    torch.manual_seed(seed)
    return ClassGate(classes, dim, embedding=16, hidden=32)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=9), st.booleans())
def test_a_gate_is_of_an_unordered_pair_and_between_0_and_1(pairs, training):
    first, second = torch.tensor(pairs).unbind(dim=1)
    module = gate().train(training)
    values = module(first, second)
    assert values.shape == (len(pairs), 7)
    assert ((values > 0) & (values < 1)).all()
    torch.testing.assert_close(module(second, first), values)


def test_statistics_are_those_of_the_pairs_of_the_call():
    module, pairs = gate(), (torch.tensor([0, 1, 2]), torch.tensor([3, 3, 4]))
    seen = torch.relu((module.embedding(pairs[0]) + module.embedding(pairs[1])) / 2)
    module(*pairs)
    torch.testing.assert_close(module.net[1].running_mean, 0.1 * seen.mean(dim=0))
    torch.testing.assert_close(module.net[1].running_var, 0.9 + 0.1 * seen.var(dim=0))


def test_a_single_pair_is_seen_as_in_evaluation_and_leaves_no_trace():
    module, pair = gate(), (torch.tensor([1]), torch.tensor([2]))
    module(torch.arange(5), torch.arange(5).flip(0))
    before = [buffer.clone() for buffer in module.buffers()]
    single = module(*pair)
    assert all(map(torch.equal, before, module.buffers()))
    torch.testing.assert_close(single, module.eval()(*pair))
    assert module.train()(torch.arange(2), torch.arange(2)).shape == (2, 7)
    assert not torch.equal(before[0], next(module.buffers()))  # statistics move again


def test_no_pairs_have_no_gates():
    assert gate()(torch.empty(0, dtype=torch.long), torch.empty(0, dtype=torch.long)).shape == (0, 7)


def test_the_control_is_open():
    assert torch.equal(OpenGate(3)(torch.arange(2), torch.arange(2)), torch.ones(2, 3))


def test_class_relations_are_the_mean_gates_of_evaluation_and_change_nothing():
    module = gate()
    module(torch.arange(5), torch.arange(5).flip(0))
    before = [buffer.clone() for buffer in module.buffers()]
    relations = module.class_relations()
    assert module.training
    assert all(map(torch.equal, before, module.buffers()))
    torch.testing.assert_close(relations, relations.T)
    expected = module.eval()(torch.tensor([2]), torch.tensor([4])).mean()
    torch.testing.assert_close(relations[2, 4], expected.detach())
