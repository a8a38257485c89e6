import pytest
import torch
from samples import clusters
from sklearn.cluster import KMeans
from sslab.eval.neighbours.kmeans import spherical_kmeans
from sslab.ssl.core.errors import UserError
from torch.nn.functional import normalize

X = torch.randn(500, 6, generator=torch.Generator().manual_seed(0)) + 0.5


def coherence(cluster: torch.Tensor, k: int) -> float:
    """Σ_i x_i · c_{a_i} with the best centroids, which is Σ_a |Σ_{i in a} x_i|."""
    sums = torch.zeros(k, X.shape[1]).index_add(0, cluster, normalize(X))
    return sums.norm(dim=1).sum().item()


def test_the_same_seed_gives_the_same_clusters() -> None:
    first, second, other = (spherical_kmeans(X, 7, seed, restarts=1) for seed in (0, 0, 1))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_only_the_direction_counts() -> None:
    scale = torch.rand(len(X), 1, generator=torch.Generator().manual_seed(1)) + 0.5
    assert torch.equal(spherical_kmeans(X, 5, 0), spherical_kmeans(X * 2 ** (scale * 4).round(), 5, 0))


def test_clusters_are_found_where_there_are_some() -> None:
    features, label = clusters(300, spread=0.1)[:2]
    found = spherical_kmeans(features, 3, 0)
    assert all(len(label[found == a].unique()) == 1 for a in range(3))


@pytest.mark.parametrize("k", [2, 5, 12])
def test_it_is_as_good_as_scikit_learns_on_the_sphere(k: int) -> None:
    theirs = torch.from_numpy(KMeans(k, n_init=5, random_state=0).fit_predict(normalize(X).numpy())).long()
    found = spherical_kmeans(X, k, 0)
    assert found.unique().tolist() == list(range(k))
    assert coherence(found, k) > 0.99 * coherence(theirs, k)


def test_one_cluster_is_everything() -> None:
    assert spherical_kmeans(X, 1, 0).unique().tolist() == [0]


def test_more_clusters_than_images_are_refused() -> None:
    with pytest.raises(UserError, match="k-means with 501 clusters: expected 1 to 500"):
        spherical_kmeans(X, 501, 0)
