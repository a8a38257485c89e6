from typing import NamedTuple

import pytest
import samples
import torch
from sslab.datamodules.views.plain import Plain
from sslab.eval.features.extract import Pixels, extract, known
from sslab.eval.measures.cka import cka, debiased_cka
from sslab.eval.protocols.base import Subject
from sslab.eval.protocols.cka import CKA
from sslab.ssl.core.draws import mix, permutation
from sslab.ssl.core.errors import UserError
from torch import nn

CPU = torch.device("cpu")
VIEW = Plain(8, [0.5] * 3, [0.25] * 3)


class Other(NamedTuple):
    name: str
    backbone: nn.Module
    view: Plain


def test_is_the_alignment_of_the_features_of_the_same_images_each_seen_its_own_way():
    images, dark = samples.images(60, size=8), Plain(4, [0.9, 0.5, 0.1], [0.25, 0.5, 1.0])
    subject = Subject(Pixels(8), images, None, VIEW, CPU, 16, "32-true")
    rows = list(CKA(Other("other", Pixels(2), dark), rows=40)(subject, seed=3))
    some = permutation(mix(3), 60)[:40].sort().values
    x = extract(Pixels(8), images, VIEW, CPU, rows=some).features
    y = extract(Pixels(2), images, dark, CPU, rows=some).features
    expected = {"cka": cka(x, y).item(), "cka_debiased": debiased_cka(x, y).item()}
    assert {row["metric"]: row["value"] for row in rows} == pytest.approx(expected)
    assert {(row["n"], row["other"], row["layer"], row["other_layer"]) for row in rows} == {(40, "other", "h", "h")}


def test_refusals():
    other = Other("other", Pixels(2), VIEW)
    with pytest.raises(UserError, match=r"cka.other_layers=\['z'\]: there is no z but h"):
        CKA(other, other_layers=["z"])
    with pytest.raises(UserError, match="rows=3 images: expected 4"):
        CKA(other, rows=3)
    subject = Subject(Pixels(2), samples.images(9, size=8), None, VIEW, CPU, 16, "32-true")
    with pytest.raises(UserError, match=r"cka.layers=\['pool_2'\]"):
        list(CKA(other, layers=["pool_2"])(subject, seed=0))
    few = known(samples.images(3, size=8))
    with pytest.raises(UserError, match="CKA needs 4 images or more, but train has 3"):
        CKA(other).check(few, few)
