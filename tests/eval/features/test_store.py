import pytest
import torch
from samples import store
from sslab.eval.features.store import FeatureStore
from sslab.ssl.core.errors import UserError


@pytest.fixture
def layers() -> FeatureStore:
    z = torch.arange(6.0)[:, None]
    return store(torch.arange(12.0).view(6, 2), torch.tensor([0, 1, -1, 2, -1, 0]), others={"z": z})


def test_a_layer_is_a_store_of_its_own(layers):
    assert layers.layers == ("h", "z")
    assert layers.at("z").features.equal(layers.others["z"])
    assert layers.at("z").layers == ("z",)
    assert layers.at("z").meta == {"layer": "z"}
    assert layers.at("h").features.equal(layers.features)
    with pytest.raises(UserError, match="there are no features of layer cls_4: there are h, z"):
        layers.at("cls_4")


def test_all_layers_and_labels_stay_with_their_rows(layers):
    some = layers.take(torch.tensor([4, 1]))
    assert (some.row.tolist(), some.label.tolist()) == ([4, 1], [-1, 1])
    assert some.features.tolist() == [[8, 9], [2, 3]]
    assert some.others["z"].tolist() == [[4], [1]]
    assert layers.labelled().others["z"].flatten().tolist() == [0, 1, 3, 5]
    assert some.take(torch.tensor([1])).labelled().row.tolist() == [1]
