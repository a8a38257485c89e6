import pytest
import samples
import torch
from sslab.datamodules.views.plain import Plain
from sslab.eval.features.extract import Pixels, extract
from sslab.eval.measures.domain_gap import domain_gap
from sslab.eval.protocols.base import Subject
from sslab.eval.protocols.domain_gap import DomainGap
from sslab.ssl.core.draws import mix, permutation
from sslab.ssl.core.errors import UserError

CPU = torch.device("cpu")
VIEW = Plain(8, [0.5] * 3, [0.25] * 3)


def subject(n: int = 60) -> Subject:
    return Subject(Pixels(2), samples.images(n, size=8), None, VIEW, CPU, 16, "32-true")


def test_is_the_gap_of_the_features():
    generated = samples.images(50, seed=1, size=8)
    generated.stack = generated.stack // 2
    rows = list(DomainGap(generated, rows=40)(subject(), seed=3))
    parts = [subject().train, generated]
    taken = [permutation(mix(3, i), len(part))[:40].sort().values for i, part in enumerate(parts)]
    stores = [
        extract(Pixels(2), part, VIEW, CPU, rows=r).features.float() for part, r in zip(parts, taken, strict=True)
    ]
    expected = domain_gap(*stores, seed=3)._asdict()
    assert {row["metric"].removeprefix("gap_"): row["value"] for row in rows} == pytest.approx(expected)
    assert {row["n"] for row in rows} == {80}
    assert expected["separability"] > 0.9


@pytest.mark.parametrize(("count", "message"), [(None, "there are no generated images"), (3, "but there are 3 of one")])
def test_too_few(count, message):
    generated = None if count is None else samples.images(count, size=8)
    train = samples.store(torch.zeros(60, 2), torch.zeros(60, dtype=torch.long))
    with pytest.raises(UserError, match=message):
        DomainGap(generated).check(train, train.take(torch.arange(0)))
