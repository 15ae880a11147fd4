"""Time and memory of VICReg's, Barlow Twins' and SimCLR's losses in PyTorch and in vertebra, forward and backward.

    cargo build --release
    python benchmarks/loss.py --json benchmarks/loss.json

Two random embeddings [N, D] in float32, for each N of 128, 256, 1024 and 4096 and each D of 256, 2048 and 8192. PyTorch
computes the plain formulas of the papers' code: the D x D covariance or cross-correlation for VICReg and Barlow Twins, the
2N x 2N similarities for SimCLR. vertebra computes them through the smaller matrix, and with `--plain` like the rivals.

Each cell runs in a process of its own, `--rounds` times, odd rounds in reverse order, on `--workers` cores. The time is the
median pass, the memory what the process took at its peak beyond what it held with the inputs alone. Both programs draw the
same inputs, so the losses in the last column must agree.

PyTorch is taken from `--venv`, which is made and filled where it is not there.
"""

import argparse
import json
import os
import statistics
import sys
import time
from pathlib import Path

import common

REQUIREMENTS = ["torch==2.11.0", "numpy"]
LOSSES = ["vicreg", "barlow", "simclr"]


def main():
    parser = common.options(__doc__.splitlines()[0])
    parser.add_argument("--n", type=common.positive, nargs="+", default=[128, 256, 1024, 4096])
    parser.add_argument("--d", type=common.positive, nargs="+", default=[256, 2048, 8192])
    parser.add_argument("--losses", nargs="+", choices=LOSSES, default=LOSSES)
    parser.add_argument("--repeats", type=common.positive, default=5, help="timed passes per process (default: 5)")
    parser.add_argument("--worker", nargs=4, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        loss, n, d, repeats = args.worker
        print(json.dumps(pytorch(loss, int(n), int(d), int(repeats))))
        return

    common.use_cores(args.workers)
    os.environ["OMP_NUM_THREADS"] = str(args.workers)
    python = common.python_with(args.venv, REQUIREMENTS)
    results = {}
    for loss in args.losses:
        for n in args.n:
            for d in args.d:
                title = f"{loss} {n} x {d}"
                results[title] = common.measured(title, contenders(args, python, loss, n, d), args.rounds)
    print_table(results)
    if args.json:
        setting = {key: getattr(args, key) for key in ["n", "d", "losses", "rounds", "repeats", "workers"]}
        packages = common.versions(python, ["torch", "numpy"])
        args.json.write_text(json.dumps(common.record(setting, packages, results), indent=2) + "\n")


def contenders(args, python, loss, n, d):
    """Functions that measure, by name."""
    cell = ["--loss", loss, "--n", n, "--d", d, "--repeats", args.repeats, "--json"]
    ours = [args.program.absolute(), "bench", "loss", *cell]
    worker = [python, Path(__file__).resolve(), "--worker", loss, n, d, args.repeats]
    commands = {"vertebra": ours, "vertebra plain": [*ours, "--plain"], "pytorch": worker}
    if loss == "simclr":
        del commands["vertebra plain"]
    wanted = args.contenders or [""]
    named = {name: command for name, command in commands.items() if any(part in name for part in wanted)}
    return {name: lambda command=command: common.run_json(command) for name, command in named.items()}


def print_table(results):
    head = ["cell", "contender", "ms", "MiB", "times vertebra's ms", "times vertebra's MiB", "loss"]
    rows = []
    for title, cell in results.items():
        spreads = {
            name: [common.spread(entry["runs"], field) for field in ["ms", "memory_mb", "loss"]]
            for name, entry in cell.items()
        }
        ours = spreads.get("vertebra", [None] * 3)
        for name, (ms, memory, loss) in spreads.items():
            ratios = [common.ratio(ms, ours[0]), common.ratio(memory, ours[1])] if name != "vertebra" else ["", ""]
            rows.append([title, name, common.figure(ms, 2), common.figure(memory), *ratios, common.figure(loss, 3)])
    common.table(head, rows)


# ---- the plain formulas ------------------------------------------------------------------------------------------------


def pytorch(loss, n, d, repeats):
    """What one pass costs in this process."""
    import torch

    torch.manual_seed(0)
    objective = {"vicreg": vicreg, "barlow": barlow, "simclr": simclr}[loss]
    # Threads and libraries take their memory before the inputs do.
    small = [torch.randn(8, 8).requires_grad_() for _ in range(2)]
    objective(*small).backward()
    za = torch.randn(n, d)
    inputs = [za.requires_grad_(), (za.detach() + torch.randn(n, d)).requires_grad_()]
    before = peak_mb()
    times = []
    for number in range(repeats + 1):
        for z in inputs:
            z.grad = None
        start = time.perf_counter()
        value = objective(*inputs)
        value.backward()
        value = value.item()
        if number > 0:
            times.append(time.perf_counter() - start)
    return {"ms": 1000 * statistics.median(times), "memory_mb": peak_mb() - before, "loss": value}


def vicreg(za, zb):
    """25 invariance + 25 mean variance hinge + covariance of both, after the authors' reductions."""
    import torch

    def covariance(z):
        n, d = z.shape
        centred = z - z.mean(0)
        matrix = centred.T @ centred / (n - 1)
        return off_diagonal(matrix) / d

    def hinge(z):
        return torch.relu(1 - (z.var(0) + 1e-4).sqrt()).mean()

    return 25 * (za - zb).square().mean() + 12.5 * (hinge(za) + hinge(zb)) + covariance(za) + covariance(zb)


def barlow(za, zb):
    """On the diagonal plus 0.0051 off it, of the correlation of standardised features."""

    def standardised(z):
        return (z - z.mean(0)) / (z.var(0, unbiased=False) + 1e-5).sqrt()

    matrix = standardised(za).T @ standardised(zb) / za.shape[0]
    return (matrix.diagonal() - 1).square().sum() + 0.0051 * off_diagonal(matrix)


def simclr(za, zb):
    """Cross-entropy of the partner among the 2N - 1 other views, temperature 0.2."""
    import torch

    n = za.shape[0]
    z = torch.nn.functional.normalize(torch.cat([za, zb]), dim=1)
    logits = z @ z.T / 0.2
    logits = logits.masked_fill(torch.eye(2 * n, dtype=torch.bool), float("-inf"))
    partner = torch.arange(2 * n).roll(n)
    return torch.nn.functional.cross_entropy(logits, partner)


def off_diagonal(matrix):
    """All squares less those of the diagonal."""
    return matrix.square().sum() - matrix.diagonal().square().sum()


def peak_mb():
    """MiB resident at the most; of this program alone, unlike `getrusage`'s, which remembers its parent's."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    sys.exit("the peak of memory is read from /proc/self/status, which this system has not")


if __name__ == "__main__":
    main()
