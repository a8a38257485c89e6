"""The agreement of clusters with classes."""

import torch
from jaxtyping import Int
from torch import Tensor


def agreement(cluster: Int[Tensor, " n"], label: Int[Tensor, " n"]) -> dict[str, float]:
    """Accuracy under the best matching of clusters to classes, purity, NMI (arithmetic), AMI and ARI.

    Accuracy matches one cluster to a class at most; purity lets each cluster speak for its most frequent class. Purity
    and NMI rise with the number of clusters even by chance; AMI and ARI do not.
    """
    from sklearn import metrics

    return {
        "cluster_accuracy": (matched(cluster, label) == label).double().mean().item(),
        "purity": (majority(cluster, label) == label).double().mean().item(),
        "nmi": float(metrics.normalized_mutual_info_score(label, cluster)),
        "ami": float(metrics.adjusted_mutual_info_score(label, cluster)),
        "ari": float(metrics.adjusted_rand_score(label, cluster)),
    }


def matched(cluster: Int[Tensor, " n"], label: Int[Tensor, " n"]) -> Int[Tensor, " n"]:
    """The class of every row's cluster, where each class has one cluster at most, those that agree best; -1: none."""
    from scipy.optimize import linear_sum_assignment

    counts = _counts(cluster, label)
    name = torch.full((len(counts),), -1)
    chosen, classes = map(torch.from_numpy, linear_sum_assignment(counts, maximize=True))
    name[chosen] = classes
    return name[cluster]


def majority(cluster: Int[Tensor, " n"], label: Int[Tensor, " n"]) -> Int[Tensor, " n"]:
    """The most frequent class of every row's cluster."""
    return _counts(cluster, label).argmax(1)[cluster]


def _counts(cluster: Int[Tensor, " n"], label: Int[Tensor, " n"]) -> Int[Tensor, "k c"]:
    """Rows by cluster and class."""
    size = int(cluster.max()) + 1, int(label.max()) + 1
    return (cluster * size[1] + label).bincount(minlength=size[0] * size[1]).view(size)
