"""Small subjects of evaluation, and recipes that suit them."""

from typing import Any

import samples
import torch
from sslab.datamodules.reading.images import Stack
from sslab.datamodules.views.augment import Augment
from sslab.datamodules.views.plain import Plain
from sslab.eval.protocols.base import Subject
from sslab.eval.protocols.finetune_recipe import Recipe
from sslab.ssl.model.backbones import Backbone
from sslab.ssl.model.optim import Optim

SIDE = 8
PLAIN = Plain(SIDE, [0.5] * 3, [0.25] * 3)
CROPS = Augment(224, [0] * 3, [1] * 3, jitter=0, grey=0, blur=0)
SGD = Optim("sgd", lr=0.1, weight_decay=0.0, scaling="none", warmup=0.0, options={"nesterov": False})


def images(n: int, seed: int = 0, classes: int = 3) -> Stack:
    return samples.images(n, seed, classes, SIDE)


def backbone(name: str = "resnet_tiny") -> Backbone:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Backbone(name, SIDE)


def subject(train: Any, test: Any = None, **known: Any) -> Subject:
    plain = Subject(backbone(), train, test, PLAIN, torch.device("cpu"), batch_size=64, precision="32-true")
    return plain._replace(**known)


def recipe(**settings: Any) -> Recipe:
    return Recipe(**{"views": CROPS, "optim": SGD, "trunk": "frozen", "epochs": 1, "batch_size": 32, **settings})
