"""The one place where parts meet: a composed config becomes parts that fit together."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from torch import Tensor

from ...datamodules.datamodule import DataModule
from ...datamodules.loading.sampler import equal_share
from ...datamodules.loading.stream import Cropper
from ...datamodules.reading.images import BadImage
from ...datamodules.sources.partners import originals
from ..config.make import make
from ..config.signature import check
from ..core import contracts
from ..core.contracts import fulfil
from ..core.draws import mix
from ..core.errors import UserError
from ..core.run_folder import Config, refuse_change
from ..core.step import Batch
from ..model.chunked import check_chunks
from ..model.encoder import Encoder
from ..model.module import Module
from ..model.stem import whiten_stem
from ..pretrained.of_run import make_backbone
from .dry_run import rehearse, two_embeddings
from .training import Training

ROWS_ANYWAY = ("size", "held", "test", "download")  # of a source: rows are the same images whatever they are


class Experiment(NamedTuple):
    """All parts of a run, built and checked, with nothing written yet."""

    config: Config
    module: Module
    datamodule: DataModule
    training: Training
    monitors: list[pl.Callback]
    evaluation: Any | None


def build(config: Config) -> Experiment:
    check(config)
    training = make(config["trainer"])
    training.check()
    optim = make(config["optim"])
    optim.check()
    views = fulfil(make(config["views"]), contracts.ViewSource, "views")
    _check_originals(config["data"])
    cropper = views if isinstance(views, Cropper) else None  # one that is none sees whole images
    datamodule = make(config["data"], views=cropper, seed=config["seed"], accumulate=training.accumulate)
    share = equal_share(datamodule.batch_size, training.processes)
    module = build_module(config, datamodule, training, views, optim)
    if training.cached_batch is not None:
        check_chunks(training.cached_batch, share, module.backbone)
    monitors = [make(node) for node in (config["monitor"] or {}).values()]
    evaluation = make(config["eval"], precision=training.mixed) if config["eval"] else None
    return Experiment(config, module, datamodule, training, monitors, evaluation)


def build_module(config: Config, datamodule: DataModule, training: Training, views: Any, optim: Any) -> Module:
    seed = config["seed"]
    online = _roles(config, "online_views", range(views.count), views.count)
    target = _roles(config, "target_views", views.targets, views.count)
    backbone, plain_view = make_backbone(config), make(config["plain_view"])
    if backbone.stem == "whitened":
        whiten_stem(backbone.trunk, _some_images(datamodule, plain_view))
    optim = optim.suited(backbone.convolutional)
    for side in views.sides:
        backbone.check(side, side)
    facts: dict[str, Any] = {
        "rows": len(datamodule.train_images),
        "batch_size": datamodule.batch_size,
        "classes": int(datamodule.train_images.label.max()) + 1,  # 0: no labels
        "steps_per_epoch": datamodule.batches_per_epoch // training.accumulate,
    }
    total_steps = training.steps(facts["steps_per_epoch"])
    facts["epochs"] = total_steps / facts["steps_per_epoch"]
    head = make(config["head"], seed=mix(seed, 2), in_dim=backbone.dim, dense_dim=backbone.dense_dim, **facts)
    fulfil(head, contracts.Head, "head")
    if backbone.dense == "previous" and head.map_only:
        raise UserError(
            "backbone.dense=previous leaves the last stage untrained, since the head sees its map alone: choose "
            "head=branches, whose other heads see the last stage, or backbone.dense=last"
        )
    predictor = make(config["predictor"], seed=mix(seed, 3), in_dim=head.dim)
    fulfil(predictor, contracts.Predictor, "predictor")
    encoder = Encoder(backbone, head, training.cached_batch)
    teacher = fulfil(make(config["teacher"], encoder=encoder), contracts.Teacher, "teacher")
    side = max(views.sides)
    q, k = two_embeddings(encoder, predictor, side)
    facts |= {"dim": head.dim, "scores": head.scores}
    facts["shape"] = None if isinstance(k, dict) else tuple(k.shape[1:])  # of one image's target
    facts |= {"view_mean": views.mean, "view_std": views.std, "precision": training.frozen}
    facts["query_heads"] = 1 if isinstance(q, dict) or q.ndim != 3 else q.shape[1]
    latent = [
        fulfil(make(node, seed=mix(seed, 4, i), **facts), contracts.LatentPart, f"latent.{name}")
        for i, (name, node) in enumerate((config["latent"] or {}).items())
    ]
    loss = fulfil(make(config["loss"], seed=mix(seed, 5), **facts), contracts.Loss, "loss")
    module = Module(
        views,
        plain_view,
        encoder,
        predictor,
        teacher,
        latent,
        loss,
        optim,
        online,
        target,
        total_steps=total_steps,
        total_batch=datamodule.batch_size * training.accumulate,
        seed=seed,
        log_every=training.log_every,
        config=config,
    )
    rehearse(module, q, k, side, facts["batch_size"], facts["classes"])
    for part in module.modules():
        if isinstance(part, Encoder):  # the trained one, and that of a teacher of its own
            part.compiled = training.compile
    return module


def _some_images(datamodule: DataModule, plain_view: Any) -> Tensor:
    """Return at most 256 training images, evenly spread, without augmentation."""
    images, found = datamodule.train_images, []
    for row in torch.linspace(0, len(images) - 1, min(256, len(images))).long().tolist():
        with suppress(BadImage):
            (view,) = plain_view(Batch.of(images.read(row)[None]))
            found.append(view.image)
    if not found:
        raise UserError("backbone.stem=whitened looks at training images, and none of those it looked at can be read")
    return torch.cat(found)


def _check_originals(data: Config) -> None:
    """Refuse partners that were made of other images than are trained on, or of the same in other rows."""
    folder = data.get("partners")
    if folder and (made_of := originals(folder)):
        old, new = ({k: v for k, v in node.items() if k not in ROWS_ANYWAY} for node in (made_of, data["source"]))
        remedy = "make partners of these, or mend `originals` in its manifest.json if these are the same"
        refuse_change(old, new, f"data.partners={folder} holds variations of other images", remedy)


def _roles(config: Config, name: str, default: Sequence[int], count: int) -> list[int]:
    views = config[name] if config[name] is not None else list(default)
    if not views or any(not 0 <= v < count for v in views):
        raise UserError(f"{name}={views}, but views.count={count} offers the views 0 to {count - 1}")
    return sorted(views)
