"""The groups that the next stage is trained on, from the features of the last encoder."""

import logging
from pathlib import Path

import torch
from jaxtyping import Int
from torch import Tensor

from ...datamodules.datamodule import DataModule
from ...datamodules.loading import groups
from ...datamodules.loading.resident import stand_ins
from ...eval.features.extract import extract
from ...eval.neighbours.kmeans import spherical_kmeans
from ..core.draws import mix
from ..core.run_folder import Config
from ..experiment.build import Experiment, build
from ..pretrained.of_run import trained_backbone

CLUSTERS = 6  # keeps the seed of k-means apart from those of the parts of a run
log = logging.getLogger(__name__)


def regroup(config: Config, folder: Path, stage: int, clusters: int, **kmeans: int) -> Path:
    """The file with the groups of a stage, which will be trained as `config` says but for them."""
    file = folder / f"groups-{stage}.npy"
    if not file.exists():
        experiment = build(config)
        found = [_clusters(experiment, folder, s, clusters, **kmeans) for s in range(stage)]
        groups.save(_joined(experiment.datamodule, found, clusters), file)
    return file


def _clusters(experiment: Experiment, folder: Path, stage: int, clusters: int, **kmeans: int) -> Int[Tensor, " n"]:
    """The cluster of every training image in the eyes of one stage."""
    file = folder / f"clusters-{stage}.npy"
    if not file.exists():
        log.info("clustering what stage %d sees", stage)
        data, training = experiment.datamodule, experiment.training
        data.setup("fit")
        backbone = trained_backbone(folder / f"stage-{stage}").to(training.device)
        view = experiment.module.plain_view
        store = extract(backbone, data.train_images, view, training.device, precision=training.mixed)
        torch.cuda.empty_cache()  # the next stage is another process
        found = spherical_kmeans(store.features, clusters, mix(experiment.config["seed"], CLUSTERS), **kmeans)
        row = torch.arange(len(data.train_images))
        cluster = torch.zeros_like(row).index_copy(0, store.row, found)
        unreadable = row[torch.isin(row, store.row, invert=True)]
        groups.save(cluster[stand_ins(row, unreadable)], file)
    return groups.load(file)


def _joined(data: DataModule, found: list[Int[Tensor, " n"]], clusters: int) -> Int[Tensor, " n"]:
    """The groups of all clusterings together, none too small for a batch, with a word on them to the log."""
    row, batch = data.trainable.row, data.batch_size
    trainable = torch.zeros(len(data.train_images), dtype=torch.bool).index_fill(0, row, True)
    group = groups.join_small(found, clusters, trainable, batch)
    size, before = group[row].bincount(), groups.code(found, clusters)[row].unique(return_counts=True)[1]
    log.info(
        "%d groups of %d to %d images (%d of %d to %d before small ones were joined): %.1f %% of the images can be "
        "drawn, %.1f %% in each epoch",
        *(len(size), size.min(), size.max(), len(before), before.min(), before.max()),
        100 * size[size >= batch].sum() / len(row),
        100 * (size // batch * batch).sum() / len(row),
    )
    if len(size) == 1 < len(before):
        log.warning("groups are too small for a batch of %d, so all are one: lower data.batch_size or clusters", batch)
    return group
