"""Time and memory of every protocol on cached features, and of kNN beside lightly's.

    python -m bench.eval [--train 50000] [--test 10000] [--dim 512] [--classes 10] [--rounds 3] [--only knn linear]
    python -m bench.eval --bank 1280000 [--test 5000]

Features are random, in float16. With `--bank` they are in a file that is mapped into memory, and only kNN and the
linear grid are timed. Seconds of CPU are those of all threads, which a busy machine changes less. Peaks are of the
process until then, with the pages of mapped files that are in memory.
"""

import argparse
import resource
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from sslab.eval.features.store import FeatureStore
from sslab.eval.neighbours.exact import load_faiss
from sslab.eval.neighbours.knn import knn
from sslab.eval.protocols.base import Protocol
from sslab.eval.protocols.calibration import Calibration
from sslab.eval.protocols.cluster import Cluster
from sslab.eval.protocols.episodes import Episodes
from sslab.eval.protocols.fewshot import FewShot
from sslab.eval.protocols.geometry import Geometry
from sslab.eval.protocols.knn import KNN
from sslab.eval.protocols.linear import Linear
from sslab.eval.protocols.linear_grid import LinearGrid
from sslab.eval.protocols.logreg import Logreg
from sslab.eval.protocols.retrieval import Retrieval
from torch import Tensor
from torch.nn.functional import normalize

SIGNAL = 0.1  # deviation of the classes' means, in that of their images
LARGE = (KNN, LinearGrid)
ALL = (*LARGE, Linear, Logreg, Calibration, FewShot, Episodes, Cluster, Retrieval, Geometry)
K, TEMPERATURE, BATCH = 200, 0.1, 512  # of lightly's benchmarks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=int, default=50_000, help="rows of the bank")
    parser.add_argument("--bank", type=int, help="rows of a bank in a file, instead")
    parser.add_argument("--test", type=int, help="10000, or 5000 with --bank")
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3, help="of kNN beside lightly's; 0: none")
    parser.add_argument("--only", nargs="*", help="names of protocols; all without it")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    print(f"FAISS on the GPU: {gpus()}")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "bank.f16" if options.bank else None
        train = store(options.bank or options.train, options, seed=0, file=file)
        test = store(options.test or (5_000 if file else 10_000), options, seed=1)
        shape = f"{len(train.label)} + {len(test.label)} x {options.dim}, {options.classes} classes"
        print(f"{shape}, {torch.get_num_threads()} threads; {peak()} MiB before")
        if options.rounds and not file:
            beside(train, test, options.rounds)
        each(LARGE if file else ALL, train, test, options.only)


def gpus() -> str:
    """The GPUs that FAISS searches on; refused if it has none where torch has some."""
    seen = load_faiss().get_num_gpus()
    if torch.cuda.is_available() and not seen:
        raise SystemExit("FAISS sees no GPU where torch does: install a faiss-gpu for this driver")
    return str(seen) if seen else "skipped: no GPU"


def each(
    protocols: tuple[type[Protocol], ...], train: FeatureStore, test: FeatureStore, only: list[str] | None
) -> None:
    print(f"  {'':12} {'seconds':>8} {'of CPU':>7} {'peak MiB':>9}")
    total, used = 0.0, time.process_time()
    for protocol in protocols:
        if only and protocol.__name__.lower() not in only:
            continue
        before = time.process_time()
        seconds = clock(lambda protocol=protocol: list(protocol()(train, test, 0)))
        total += seconds
        print(f"  {protocol.__name__:12} {seconds:8.1f} {time.process_time() - before:7.1f} {peak():9}", flush=True)
    print(f"  {'all':12} {total:8.1f} {time.process_time() - used:7.1f} {peak():9}")


def beside(train: FeatureStore, test: FeatureStore, rounds: int) -> None:
    """KNN with one k, in turns with lightly's on the same unit vectors in single precision."""
    train, test = (part._replace(features=normalize(part.features.float())) for part in (train, test))
    theirs = lightly(train, test)

    def ours() -> Tensor:
        return knn(train, test, [K], [TEMPERATURE])[K, TEMPERATURE]

    agree = (ours() == theirs()).double().mean()
    seconds = [(clock(ours), clock(theirs)) for _ in range(rounds)]
    best, other = map(min, zip(*seconds, strict=True))
    ratio = statistics.median(a / b for a, b in seconds)
    print(f"  kNN, k={K}: {best:.2f} s, lightly {other:.2f} s, ratio {ratio:.2f}, {agree:.2%} agree; {peak()} MiB")


def lightly(train: FeatureStore, test: FeatureStore) -> Callable[[], Tensor]:
    """Its kNN, a batch of queries at a time."""
    from lightly.utils.benchmarking import knn_predict

    def predict() -> Tensor:
        bank, classes = train.features.T.contiguous(), int(train.label.max()) + 1
        batches = test.features.split(BATCH)
        return torch.cat([knn_predict(x, bank, train.label, classes, K, TEMPERATURE)[:, 0] for x in batches])

    return predict


def store(rows: int, options: argparse.Namespace, seed: int, file: Path | None = None) -> FeatureStore:
    """Random features around the means of their classes."""
    label = torch.arange(rows) % options.classes
    if file is None:
        features = torch.cat(list(chunks(label, options.dim, seed)))
    else:
        with file.open("wb") as f:
            for chunk in chunks(label, options.dim, seed):
                chunk.numpy().tofile(f)
        features = torch.from_numpy(np.memmap(file, np.float16, "c").reshape(rows, options.dim))
    return FeatureStore(features, label, torch.zeros(rows, 0, dtype=torch.long), torch.arange(rows), {"layer": "h"})


def chunks(label: Tensor, dim: int, seed: int) -> Iterator[Tensor]:
    centre = SIGNAL * torch.randn(int(label.max()) + 1, dim, generator=torch.Generator().manual_seed(99))
    draw = torch.Generator().manual_seed(seed)
    for y in label.split(1 << 13):
        yield (centre[y] + torch.randn(len(y), dim, generator=draw)).half()


def clock(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


if __name__ == "__main__":
    main()
