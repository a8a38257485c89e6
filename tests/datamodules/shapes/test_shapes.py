from itertools import combinations
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2_contingency
from sklearn.neighbors import KNeighborsClassifier
from sslab.datamodules.reading.images import ImageSet, Source
from sslab.datamodules.shapes import shapes
from sslab.datamodules.shapes.scenes import DARK, FACTORS, LIGHT, draw, render
from sslab.datamodules.shapes.shapes import FIRST_TEST, LOUDNESS, Shapes
from sslab.ssl.core.errors import UserError
from torch import Tensor, nn


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("cache"))


def pixels(images: ImageSet | None) -> Tensor:
    assert images is not None
    assert images.stack is not None
    return images.stack


def test_is_a_source_with_a_name_for_every_label(cache: str) -> None:
    source = Shapes(train=50, test=20, cache=cache)
    assert isinstance(source, Source)
    assert isinstance(source.train, ImageSet)
    assert (len(source.train), len(source.test or ())) == (50, 20)
    assert pixels(source.train).shape == (50, 3, 32, 32)
    assert source.train.classes[:2] == ("disc", "ring")
    assert source.train.factors.shape == (50, len(source.train.factor_names))


def test_labels_and_factors_are_uniform_and_independent(cache: str) -> None:
    train = Shapes(cache=cache).train
    columns = {"shape": (train.label, 10)}
    columns |= {name: (train.factors[:, k], FACTORS[name]) for k, name in enumerate(train.factor_names)}
    for values, count in columns.values():
        share = torch.bincount(values) / len(train)
        assert len(share) == count
        assert (share * count - 1).abs().max() < 0.1
    for (a, n), (b, m) in combinations(columns.values(), 2):
        test: Any = chi2_contingency(torch.bincount(a * m + b, minlength=n * m).view(n, m))
        assert test.pvalue > 1e-4


@given(rows=st.lists(st.integers(0, 999), min_size=1, max_size=40), seed=st.integers(0, 2**63 - 1))
@settings(max_examples=20, deadline=None)
def test_an_image_depends_on_seed_and_number_alone(rows: list[int], seed: int) -> None:
    alone = render(draw(seed, torch.tensor(rows[:1])), 16, *LOUDNESS["strong"])
    among = render(draw(seed, torch.tensor(rows)), 16, *LOUDNESS["strong"])
    assert torch.equal(alone[0], among[0])
    assert not torch.equal(alone, render(draw(seed ^ 1, torch.tensor(rows[:1])), 16, *LOUDNESS["strong"]))


def test_sets_are_beginnings_of_one_sequence(cache: str) -> None:
    short, long = Shapes(train=300, test=40, cache=cache), Shapes(train=2000, test=60, cache=cache)
    assert torch.equal(pixels(short.train), pixels(long.train)[:300])
    assert torch.equal(pixels(short.test), pixels(long.test)[:40])
    assert torch.equal(short.train.factors, long.train.factors[:300])


def test_no_test_image_is_a_training_image(cache: str) -> None:
    source = Shapes(train=2000, test=500, size=16, cache=cache)
    both = torch.cat([pixels(source.train), pixels(source.test)]).flatten(1)
    assert len(both.unique(dim=0)) == 2500
    assert len(source.train) < FIRST_TEST


def test_what_does_not_fit_in_memory_is_read_one_by_one(cache: str, monkeypatch: pytest.MonkeyPatch) -> None:
    held = pixels(Shapes(train=20, cache=cache).train)
    monkeypatch.setattr(shapes, "IN_MEMORY", 0)
    train = Shapes(train=20, cache=cache).train
    assert train.stack is None
    assert all(torch.equal(train.read(row), held[row]) for row in range(20))


@pytest.mark.parametrize("texture", LOUDNESS)
def test_edges_and_textures_are_smooth(texture: str) -> None:
    scenes = draw(0, torch.arange(100))
    small, large = (render(scenes, size, *LOUDNESS[texture]).float() for size in (32, 224))
    difference = (F.avg_pool2d(large, 7) - small).abs()
    assert difference.mean() < 1
    assert (difference > 30).float().mean() < 0.002  # tips of triangles and stars


@pytest.mark.parametrize("texture", LOUDNESS)
def test_a_shape_is_brighter_or_darker_than_its_background_everywhere(texture: str) -> None:
    """Brightness as the value of HSV, which hue does not change: what lies between the two is edge."""
    foreground, background = LOUDNESS[texture]
    value = render(draw(0, torch.arange(1000)), 64, foreground, background).amax(1).flatten(1) / 255
    dark, light = value < DARK + 0.01, value > LIGHT * (1 - max(foreground, background)) - 0.01
    assert not (dark & light).any()
    assert (dark | light).float().mean() > 0.95
    assert torch.minimum(dark.float().mean(1), light.float().mean(1)).min() > 0.015


def test_factors_tell_what_is_seen() -> None:
    scenes = draw(0, torch.arange(2000))
    image = render(scenes, 32, 0.0, 0.0).float() / 255
    corner, factors = image[:, :, 0, 0], dict(zip(FACTORS, scenes.factors().T, strict=True))
    assert torch.equal(factors["polarity"], (corner.amax(1) > 0.6).long())
    assert all(corner[factors["background_hue"] == hue].argmax(1).unique().numel() <= 2 for hue in range(8))
    shape = (image - corner[:, :, None, None]).abs().amax(1) > 0.2
    height, width = shape.any(2).sum(1), shape.any(1).sum(1)
    sizes = [torch.maximum(height, width)[factors["scale"] == scale].float().mean() for scale in range(4)]
    assert sizes == sorted(sizes)
    axis = torch.arange(32.0)
    across = (shape.sum(1) * axis).sum(1) / shape.sum((1, 2))
    columns = [across[factors["position"] % 3 == column].mean().item() for column in range(3)]
    assert columns[0] + 3 < columns[1] < columns[2] - 3


@pytest.mark.parametrize("given", [{"size": 4}, {"size": 225}, {"texture": "lowd"}, {"train": 0}, {"test": -1}])
def test_what_cannot_be_drawn_is_refused(given: dict[str, int | str]) -> None:
    (value,) = given.values()
    with pytest.raises(UserError, match=str(value)):
        Shapes(**given)  # pyright: ignore[reportArgumentType]


@pytest.mark.slow
@pytest.mark.parametrize("texture", LOUDNESS)
def test_pixels_do_not_tell_the_shape(texture: str, cache: str) -> None:
    source = Shapes(test=500, texture=texture, cache=cache)
    assert source.test
    bank, queries = (F.normalize(pixels(images).flatten(1).float()) for images in (source.train, source.test))
    knn = KNeighborsClassifier(20, algorithm="brute").fit(bank, source.train.label)
    assert 0.15 < knn.score(queries, source.test.label) < 0.4


@pytest.mark.slow
def test_a_small_supervised_network_tells_the_shape(cache: str) -> None:
    source = Shapes(train=12000, test=2000, cache=cache)
    torch.manual_seed(0)
    layers = [layer for width in ((3, 16, 2), (16, 32, 1), (32, 64, 2), (64, 128, 2)) for layer in convolution(*width)]
    network = nn.Sequential(*layers, nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(128, 10))
    network = network.to(memory_format=torch.channels_last)
    fit(network, source.train, epochs=4, batch=48)
    assert source.test
    with torch.no_grad():
        predicted = network.eval()(scaled(pixels(source.test))).argmax(1)
    assert (predicted == source.test.label).float().mean() > 0.95


def convolution(inputs: int, outputs: int, stride: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]


def scaled(images: Tensor) -> Tensor:
    return (images.float() / 64 - 2).contiguous(memory_format=torch.channels_last)


def fit(network: nn.Module, train: ImageSet, epochs: int, batch: int) -> None:
    """Batches are flipped and transposed, by which a shape stays what it is."""
    steps = epochs * (len(train) // batch)
    optimizer = torch.optim.AdamW(network.parameters(), 4e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps)
    for step in range(steps):
        rows = torch.randint(len(train), (batch,))
        images = pixels(train)[rows]
        images = images.flip([dim for dim in (2, 3) if torch.rand(()) < 0.5])
        images = images.transpose(2, 3) if step % 2 else images
        loss = F.cross_entropy(network(scaled(images)), train.label[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
