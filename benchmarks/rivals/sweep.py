"""A sweep of linear classifiers on random features with other tools; called by benchmarks/evaluation.py.

Prints one JSON line: the seconds of a fit for every setting on nine tenths of the rows, the choice on the others, and a
fit of the best on all.
"""

import argparse
import json
import os
import time

import numpy


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tool", choices=["sklearn", "torch"])
    for name in ("rows", "width", "classes", "settings", "epochs"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    args = parser.parse_args()
    numbers = numpy.random.default_rng(0)
    means = numbers.standard_normal((args.classes, args.width), dtype=numpy.float32)
    y = numpy.arange(args.rows) % args.classes
    x = 0.15 * means[y] + numbers.standard_normal((args.rows, args.width), dtype=numpy.float32)
    held = numpy.arange(args.rows) % 10 == 5
    settings, fit = {"sklearn": with_sklearn, "torch": with_torch}[args.tool](args)
    start = time.perf_counter()
    scores = [fit(x[~held], y[~held], one)(x[held], y[held]) for one in settings]
    best = int(numpy.argmax(scores))
    fit(x, y, settings[best])
    print(json.dumps({"tool": args.tool, "seconds": time.perf_counter() - start, "held_out": float(scores[best])}))


def with_sklearn(args):
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    threadpool_limits(args.threads)

    def fit(x, y, c):
        return LogisticRegression(C=c, max_iter=1000).fit(x, y).score

    return numpy.logspace(-6, 6, args.settings), fit


def with_torch(args):
    import torch

    torch.set_num_threads(args.threads)

    def fit(x, y, lr):
        torch.manual_seed(0)
        x, y = torch.from_numpy(x), torch.from_numpy(y)
        head = torch.nn.Linear(args.width, args.classes)
        batch = 256
        steps = args.epochs * -(-len(x) // batch)
        optimizer = torch.optim.SGD(head.parameters(), lr, momentum=0.9)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        for _ in range(args.epochs):
            for rows in torch.randperm(len(x)).split(batch):
                loss = torch.nn.functional.cross_entropy(head(x[rows]), y[rows])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()

        @torch.no_grad()
        def score(x, y):
            return (head(torch.from_numpy(x)).argmax(1) == torch.from_numpy(y)).float().mean().item()

        return score

    return numpy.logspace(-4, 0, args.settings), fit


if __name__ == "__main__":
    main()
