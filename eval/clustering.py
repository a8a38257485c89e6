"""How clusters agree with classes."""

from jaxtyping import Int
from torch import Tensor


def agreement(cluster: Int[Tensor, " n"], label: Int[Tensor, " n"]) -> dict[str, float]:
    """Accuracy under the best matching of clusters to classes, purity, NMI (arithmetic), AMI and ARI.

    Accuracy matches one cluster to a class at most; purity lets each cluster speak for its most frequent class. Purity
    and NMI rise with the number of clusters even by chance; AMI and ARI do not.
    """
    from scipy.optimize import linear_sum_assignment
    from sklearn import metrics

    size = int(cluster.max()) + 1, int(label.max()) + 1
    table = (cluster * size[1] + label).bincount(minlength=size[0] * size[1]).view(size)  # (clusters, classes)
    matched = table[linear_sum_assignment(table, maximize=True)]
    return {
        "cluster_accuracy": (matched.sum() / len(label)).item(),
        "purity": (table.max(1).values.sum() / len(label)).item(),
        "nmi": float(metrics.normalized_mutual_info_score(label, cluster)),
        "ami": float(metrics.adjusted_mutual_info_score(label, cluster)),
        "ari": float(metrics.adjusted_rand_score(label, cluster)),
    }
