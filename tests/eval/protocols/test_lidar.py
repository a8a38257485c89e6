from dataclasses import replace
from itertools import combinations
from typing import Any

import pytest
import torch
import tuning
from sslab.datamodules.reading.images import Stack
from sslab.eval.features.extract import known
from sslab.eval.features.random_views import keyed
from sslab.eval.measures.lidar import lidar
from sslab.eval.protocols.lidar import ROWS, VIEWS, LiDAR
from sslab.ssl.core.draws import mix, permutation
from sslab.ssl.core.errors import UserError
from sslab.ssl.core.step import Batch
from torch.nn.functional import normalize

N, Q, SEED = 12, 4, 3


@pytest.fixture(scope="module")
def train() -> Stack:
    images = tuning.images(30)
    images.label.fill_(-1)
    return images


def measure(train: Any, seed: int = SEED, **settings: Any) -> dict[str, dict[str, Any]]:
    protocol = LiDAR(**{"views": tuning.CROPS, "images": N, "per_image": Q, **settings})
    protocol.check(known(train), known(train))
    return {row["metric"]: row for row in protocol(tuning.subject(train, batch_size=5), seed)}


def test_is_that_of_the_features_of_its_views(train):
    rows = permutation(mix(SEED, ROWS), 30)[:N]
    backbone, batch = tuning.backbone().eval(), Batch.of(train.stack[rows], row=rows)
    views = [keyed(tuning.CROPS, tuning.PLAIN, mix(SEED, VIEWS, number)) for number in range(Q)]
    with torch.no_grad():
        z = torch.stack([backbone(view(batch)[0].image).pooled for view in views])  # (q, n, d)
    found = measure(train)
    expected = lidar(z.flatten(0, 1).half().float(), torch.arange(N).repeat(Q))
    assert found["lidar"]["value"] == pytest.approx(expected.item(), rel=1e-3)
    unit = normalize(z, dim=2)
    pairs = [(unit[i] - unit[j]).square().sum(1) for i, j in combinations(range(Q), 2)]
    assert found["alignment"]["value"] == pytest.approx(torch.cat(pairs).mean().item(), rel=1e-2)
    for metric, row in found.items():
        assert (row["n"], row["images"], row["views"], row["layer"]) == (N * Q, N, Q, "h")
        assert row["protocol"] == f"{metric}@1"


def test_same_seed_same_number_and_the_backbone_is_left_as_it_is(train):
    subject, before = tuning.subject(train), torch.get_rng_state()
    protocol = LiDAR(tuning.CROPS, N, Q)
    weights = {k: v.clone() for k, v in subject.backbone.state_dict().items()}
    first, second, other = ([row["value"] for row in protocol(subject, seed)] for seed in (0, 0, 1))
    assert first == second
    assert all(a != b for a, b in zip(first, other, strict=True))
    assert all(weights[k].equal(v) for k, v in subject.backbone.state_dict().items())
    assert all(m.training for m in subject.backbone.modules())
    assert torch.get_rng_state().equal(before)


def test_views_that_are_all_the_same(train):
    whole = replace(tuning.CROPS, scale=[1.0, 1.0], ratio=[1.0, 1.0], flip=0)
    found = measure(train, views=whole)
    assert found["alignment"]["value"] == pytest.approx(0, abs=1e-9)
    assert 1 < found["lidar"]["value"] <= N - 1
    assert measure(train)["alignment"]["value"] > 1e-4


@pytest.mark.parametrize("setting", [{"images": 1}, {"per_image": 1}, {"delta": -1.0}])
def test_wrong_settings(setting):
    with pytest.raises(UserError, match="expected two images or more, two views or more and a delta of 0 or more"):
        LiDAR(tuning.CROPS, **setting)


def test_fewer_images_than_asked_for(train):
    with pytest.raises(UserError, match="LiDAR is to see 31 images, but train has 30: set images to fewer"):
        measure(train, images=31)
