import pytest
import torch
from sklearn.neighbors import NearestNeighbors
from sslab.eval.neighbours.exact import search
from sslab.eval.neighbours.inverted_file import IVF
from sslab.ssl.core.errors import UserError
from torch import Tensor
from torch.nn.functional import normalize


def gaussian(n: int, d: int, seed: int = 0) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def test_equals_scikit_learn():
    bank, queries = gaussian(300, 12), gaussian(40, 12, seed=1)
    similarity, position = search(bank, queries, 25)
    distance, expected = NearestNeighbors(n_neighbors=25, metric="cosine").fit(bank).kneighbors(queries)
    assert position.tolist() == expected.tolist()
    torch.testing.assert_close(similarity, torch.tensor(1 - distance).float(), rtol=1e-5, atol=1e-6)


def test_keeps_the_first_of_equals_beyond_faiss_heap():
    similarity, position = search(torch.ones(1000, 1), torch.ones(30, 1), 150)
    assert (similarity == 1).all()
    assert (position == torch.arange(150)).all()


@pytest.mark.parametrize("cells", [1, 20, 64])
def test_parts_of_the_bank_change_nothing(monkeypatch, cells):
    """Vectors on a grid: many ties, also between parts."""
    bank = torch.randint(-1, 2, (90, 4), generator=torch.Generator().manual_seed(0)).float()
    queries = torch.randint(-1, 2, (20, 4), generator=torch.Generator().manual_seed(1)).float()
    whole = search(bank, queries, 17)
    monkeypatch.setattr("sslab.eval.neighbours.exact.CELLS", cells)
    monkeypatch.setattr("sslab.eval.neighbours.exact.SETTLED", 100)
    parts = search(bank, queries, 17)
    assert parts[1].equal(whole[1])
    torch.testing.assert_close(parts[0], whole[0])


def test_half_precision_banks_are_searched_in_single():
    bank, queries = gaussian(200, 16).half(), gaussian(10, 16, seed=1).half()
    similarity, position = search(bank, queries, 9)
    expected = normalize(queries.double()) @ normalize(bank.double()).T
    assert position.equal(expected.topk(9).indices)
    torch.testing.assert_close(similarity.double(), expected.topk(9).values, rtol=1e-6, atol=1e-6)


def test_inverted_file_with_all_lists_is_exact():
    bank, queries = gaussian(900, 8), gaussian(30, 8, seed=1)
    ivf = IVF(probes=1000)
    assert ivf(bank, queries, 10)[1].equal(search(bank, queries, 10)[1])
    assert ivf.recall == 1


def test_recall_is_the_share_of_true_neighbours(caplog):
    caplog.set_level("INFO")
    bank, queries = gaussian(2000, 8), gaussian(200, 8, seed=1)
    ivf = IVF(probes=4)
    found, exact = ivf(bank, queries, 10)[1], search(bank, queries, 10)[1]
    share = sum(len(set(a) & set(b)) for a, b in zip(found.tolist(), exact.tolist(), strict=True)) / exact.numel()
    assert ivf.recall == pytest.approx(share)
    assert 0.2 < share < 1
    assert f"IVF, 4 of 176 lists: {100 * share:.1f} % of the 10 nearest are found" in caplog.text
    assert ivf(bank, queries, 10)[1].equal(found)


def test_lists_that_hold_too_few_are_refused():
    with pytest.raises(UserError, match="1 lists hold fewer than k=100 vectors: raise probes"):
        IVF(probes=1)(gaussian(2000, 4), gaussian(5, 4), 100)
