"""The exact nearest neighbours of random features with other tools; called by benchmarks/evaluation.py.

Prints one JSON line: the median seconds of three searches.
"""

import argparse
import json
import os
import statistics
import time

import numpy


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tool", choices=["faiss", "sklearn", "torch"])
    parser.add_argument("--queries", type=int, required=True)
    parser.add_argument("--candidates", type=int, required=True)
    parser.add_argument("--width", type=int, required=True)
    parser.add_argument("--k", type=int, required=True)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    args = parser.parse_args()

    numbers = numpy.random.default_rng(0)
    queries = numbers.standard_normal((args.queries, args.width), dtype=numpy.float32)
    candidates = numbers.standard_normal((args.candidates, args.width), dtype=numpy.float32)
    search = {"faiss": with_faiss, "sklearn": with_sklearn, "torch": with_torch}[args.tool](args)
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        rows = search(queries.copy(), candidates.copy())
        seconds.append(time.perf_counter() - start)
        assert rows.shape == (args.queries, args.k)
    print(json.dumps({"tool": args.tool, "seconds": statistics.median(seconds)}))


def with_faiss(args):
    import faiss

    faiss.omp_set_num_threads(args.threads)

    def search(queries, candidates):
        faiss.normalize_L2(queries)
        faiss.normalize_L2(candidates)
        index = faiss.IndexFlatIP(args.width)
        index.add(candidates)
        return index.search(queries, args.k)[1]

    return search


def with_sklearn(args):
    from sklearn.neighbors import NearestNeighbors

    def search(queries, candidates):
        index = NearestNeighbors(n_neighbors=args.k, algorithm="brute", metric="cosine", n_jobs=args.threads)
        return index.fit(candidates).kneighbors(queries, return_distance=False)

    return search


def with_torch(args):
    import torch

    torch.set_num_threads(args.threads)

    def search(queries, candidates):
        queries, candidates = (torch.nn.functional.normalize(torch.from_numpy(x)) for x in (queries, candidates))
        return torch.cat([(part @ candidates.T).topk(args.k).indices for part in queries.split(1024)])

    return search


if __name__ == "__main__":
    main()
