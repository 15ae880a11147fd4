"""Time parts of evaluation on a CPU: vertebra beside the usual tools, interleaved.

    cargo build --release
    python benchmarks/evaluation.py --json benchmarks/evaluation.json

knn: for each of 10,000 random features of 512 numbers, the exact 20 nearest of 50,000 by cosine similarity. Every contender
makes the rows of length one itself, and that is timed; making the random numbers is not. Each runs in processes of its
own on the same `--workers` cores (default 2, and as many threads), `--rounds` times in turn; the figure of a process is
the median of three searches. Medians over rounds, with the lowest and the highest; ratios are to the first row, above
1 where vertebra is better.

- faiss: IndexFlatIP, faiss.normalize_L2.
- sklearn: NearestNeighbors, brute force, metric cosine.
- torch: one matrix product per 1,024 queries, and topk.
"""

import json
from pathlib import Path

import common

REQUIREMENTS = ["torch==2.11.0", "faiss-cpu==1.15.1", "scikit-learn==1.9.1", "numpy==2.4.6"]
RIVALS = ["faiss", "sklearn", "torch"]
SIZES = {"queries": 10_000, "candidates": 50_000, "width": 512, "k": 20}


def main():
    args = common.options(__doc__.splitlines()[0]).parse_args()
    common.use_cores(args.workers)
    python = common.python_with(args.venv, REQUIREMENTS)
    results = common.measured("knn", contenders(args, python), args.rounds)
    report(results)
    if args.json:
        packages = common.versions(python, [common.name(one) for one in REQUIREMENTS])
        record = common.record(SIZES | {"rounds": args.rounds, "workers": args.workers}, packages, {"knn": results})
        args.json.write_text(json.dumps(record, indent=2) + "\n")


def contenders(args, python):
    """What runs once each, by name."""
    sizes = [f"--{name}={value}" for name, value in SIZES.items()]
    threads = f"OMP_NUM_THREADS={args.workers}"
    script = Path(__file__).resolve().parent / "rivals" / "knn.py"
    ours = ["env", threads, args.program, "bench", "knn", *sizes, "--json"]
    commands = {"vertebra": ours}
    for rival in RIVALS:
        commands[rival] = ["env", threads, python, script, rival, f"--threads={args.workers}", *sizes]
    wanted = args.contenders or [""]
    return {
        name: lambda command=command: common.run_json(command)
        for name, command in commands.items()
        if any(word in name for word in wanted)
    }


def report(results):
    spreads = {name: common.spread(entry["runs"], "seconds") for name, entry in results.items()}
    first = next(iter(spreads.values()))
    rows = [
        [name, common.figure(spread, 2) or results[name].get("failure", ""), common.ratio(spread, first)]
        for name, spread in spreads.items()
    ]
    common.table(["knn", "s", "ratio"], rows)


if __name__ == "__main__":
    main()
