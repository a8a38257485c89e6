import torch
from sslab.ssl.losses.base.output import Output


def test_uniform_weights_make_the_plain_mean():
    values = torch.tensor([1.0, 2.0, 6.0], requires_grad=True)
    output = Output.mean(torch.full((3,), 7.0), values, term=2 * values)
    assert output.total == 3
    assert output.terms["term"] == 6
    assert not output.terms["term"].requires_grad


def test_weight_two_counts_as_two_samples():
    values, weight = torch.tensor([1.0, 2.0, 6.0]), torch.tensor([1.0, 2.0, 0.0])
    torch.testing.assert_close(Output.mean(weight, values).total, values[[0, 1, 1]].mean())


def test_no_weight_at_all_is_zero():
    assert Output.mean(torch.zeros(2), torch.ones(2)).total == 0


def test_precision_is_that_of_the_values():
    third = torch.full((3,), 1 / 3, dtype=torch.float64)
    assert Output.mean(torch.ones(3, dtype=torch.bfloat16), third).total == third[0]


def test_terms_may_be_extremes_by_their_name():
    values = torch.tensor([1.0, 2.0, 6.0])
    output = Output.mean(torch.ones(3), values, tau_min=values, tau_max=values, tau=values)
    assert {name: term.item() for name, term in output.terms.items()} == {"tau_min": 1, "tau_max": 6, "tau": 3}
    other = Output.mean(torch.ones(3), values, tau_min=values + 1, tau_max=values + 1, tau=values + 1)
    both = Output.average([output, other])
    assert {name: term.item() for name, term in both.terms.items()} == {"tau_min": 1, "tau_max": 7, "tau": 3.5}
