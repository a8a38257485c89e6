import itertools
from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from jaxtyping import Float, UInt8
from sslab.datamodules.views.jitter import DRAWS, jitter, random_jitter
from sslab.ssl.core.draws import keys, uniforms
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

STRENGTH = (0.8, 0.8, 0.8, 0.2)
APPLY = (F.adjust_brightness, F.adjust_contrast, F.adjust_saturation, F.adjust_hue)


def draws(count: int, stream: int = 0) -> Float[Tensor, "{count} d"]:
    return uniforms(keys(0, torch.arange(count)), stream, DRAWS)


def test_equals_torchvision_in_the_order_drawn(images: UInt8[Tensor, "24 3 40 52"]) -> None:
    x, u = images / 255, draws(24)
    expected = []
    for image, (_, *factor, shift, o0, o1, o2, o3, _) in zip(x, u.tolist(), strict=True):
        values = [max(0, 1 - s) + (1 + s - max(0, 1 - s)) * f for s, f in zip(STRENGTH, factor, strict=False)]
        values.append((2 * shift - 1) * STRENGTH[3])
        for place in sorted(range(4), key=[o0, o1, o2, o3].__getitem__):
            image = APPLY[place](image, values[place])
        expected.append(image)
    blends, hue = random_jitter(u, 1.0, STRENGTH, 0.0)
    torch.testing.assert_close(jitter(x, blends, hue), torch.stack(expected), atol=2e-5, rtol=0)


def test_all_orders_are_equally_likely() -> None:
    order = draws(12_000)[:, 5:9].argsort(1)
    seen = Counter(map(tuple, order.tolist()))
    assert set(seen) == set(itertools.permutations(range(4)))
    assert max(abs(n - 500) for n in seen.values()) < 4 * 500**0.5


@pytest.mark.parametrize("which", range(4))
def test_mean_and_variance_of_each_operation(images: UInt8[Tensor, "24 3 40 52"], which: int) -> None:
    strength = [s if i == which else 0.0 for i, s in enumerate(STRENGTH)]
    x = (images[2:6, :, ::4, ::4] / 255).repeat(500, 1, 1, 1)
    ours = jitter(x.clone(), *random_jitter(draws(2000), 1.0, strength, 0.0))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        operation = v2.ColorJitter(*strength)
        theirs = torch.stack([operation(image) for image in x])
    for image in range(4):  # by channel, over the draws
        a, b = ours[image::4].mean((2, 3)), theirs[image::4].mean((2, 3))
        torch.testing.assert_close(a.mean(0), b.mean(0), atol=0.03, rtol=0)
        torch.testing.assert_close(a.std(0), b.std(0), atol=0.02, rtol=0.1)


def test_probabilities() -> None:
    blends, hue = random_jitter(draws(8000), 0.8, STRENGTH, 0.2)
    jittered, grey = (blends[:, :6, 0] != 1).any(1), blends[:, 6, 0] == 0
    assert jittered.float().mean() == pytest.approx(0.8, abs=0.02)
    assert grey.float().mean() == pytest.approx(0.2, abs=0.02)
    assert (jittered & grey).float().mean() == pytest.approx(0.16, abs=0.02)
    assert torch.equal(jittered, hue != 0)
    assert ((blends[:, :6, 0] != 1).sum(1) <= 3).all()


def test_nothing_chosen_changes_no_bit(images: UInt8[Tensor, "24 3 40 52"]) -> None:
    x = images / 255
    assert torch.equal(jitter(x.clone(), *random_jitter(draws(24), 0.0, STRENGTH, 0.0)), x)


@given(st.integers(1, 30))
def test_values_stay_in_range(stream: int) -> None:
    u = draws(16, stream)
    x = u[:, :3, None, None].expand(16, 3, 4, 4).clone()
    x = jitter(x, *random_jitter(u, 1.0, (2.0, 2.0, 2.0, 0.5), 0.5))
    assert x.min() >= -1e-6
    assert x.max() <= 1 + 1e-6
