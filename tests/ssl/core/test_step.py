import torch
from sslab.ssl.core.step import Batch, Derived, Step, pairs


def test_every_ordered_pair_of_a_query_and_another_views_target() -> None:
    z = torch.zeros(2, 3)
    assert list(pairs(Step.of({0: z, 1: z}, {0: z, 1: z}))) == [(0, 1), (1, 0)]
    assert list(pairs(Step.of({0: z}, {1: z}))) == [(0, 1)]
    crops = Step.of(dict.fromkeys(range(4), z), {0: z, 1: z})
    assert list(pairs(crops)) == [(0, 1), (1, 0), (2, 0), (2, 1), (3, 0), (3, 1)]


def test_a_derived_query_meets_one_target_alone() -> None:
    z = torch.zeros(2, 3)
    derived = {2: Derived(0, 1), 3: Derived(1, 3)}
    step = Step.of(dict.fromkeys(range(4), z), {0: z, 1: z, 3: z}, derived=derived)
    assert list(pairs(step)) == [(0, 1), (1, 0), (2, 1), (3, 3)]
    assert [step.view_of(query) for query in step.q] == [0, 1, 0, 1]
    assert sorted((a, b) for b, a in pairs(step._replace(q=step.k, k=step.q))) == list(pairs(step))


def test_what_is_not_known_is_neutral() -> None:
    batch = Batch.of(torch.zeros(2, 3, 4, 4, dtype=torch.uint8), label=torch.tensor([5, 6]))
    assert batch.label.tolist() == [5, 6]
    assert batch.weight.tolist() == [1, 1]
    assert batch.factors.shape == (2, 0)
    assert batch.partner.numel() == 0
    step = Step.of({0: torch.zeros(2, 7)}, {1: torch.zeros(2, 7)}, batch)
    assert step.memory.shape == (0, 7)
    assert step.group.tolist() == [0, 0]
    assert step.row.tolist() == [0, 1]
