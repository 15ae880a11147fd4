"""Run a recipe with several seeds and print the claim that its file opens with.

    cargo build --release
    python benchmarks/claim.py recipes/vicreg-r18-cifar10.toml

Each seed is a run of its own under `runs/claims/`; a run that is finished is not run again, one that was stopped
is resumed. The figures are those of the last epoch, read from the runs' own `scores.jsonl` and `run.json`: mean over
seeds ± half of the 95 % interval of the mean (Student's t), and beside it the same network with random weights.
"""

import argparse
import json
import math
import statistics
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VERTEBRA = ROOT / "target" / "release" / "vertebra"
# Two-sided 95 % quantiles of Student's t for 2, 3, ... values.
STUDENT = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--data", help="training images instead of the recipe's")
    parser.add_argument("--test", help="labelled test images instead of the recipe's")
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    folders = [run(args, seed) for seed in range(args.seeds)]
    infos = [json.loads((folder / "run.json").read_text()) for folder in folders]
    scores = [lines(folder / "scores.jsonl") for folder in folders]
    minutes = statistics.median(info["seconds"] for info in infos) / 60
    info = infos[0]
    print(f"{args.recipe.name}: {info['title']}")
    print(f"{args.seeds} seeds, {minutes:.1f} min of training each on {info['machine']} ({info['precision']}), "
          f"commit {info['commit']}")
    for protocol, metric in sorted({(s["protocol"], s["metric"]) for s in scores[0]}):
        cells = []
        for encoder in ("trained", "random"):
            values = [100 * s["value"] for seed in scores for s in seed
                      if (s["protocol"], s["metric"], s["encoder"]) == (protocol, metric, encoder)]
            cells.append(f"{encoder} {spread(values)}")
        print(f"{protocol} {metric}: {', '.join(cells)} % of {scores[0][0]['samples']} test images")


def run(args, seed):
    """Trains one seed to its end, wherever an earlier attempt stopped."""
    folder = ROOT / "runs" / "claims" / f"{args.recipe.stem}-seed{seed}"
    if (folder / "report.html").exists():
        return folder
    command = [VERTEBRA, "pretrain", args.recipe, "--out", folder, "--set", f"seed={seed}"]
    for name in ("data", "test"):
        if getattr(args, name):
            command += [f"--{name}", getattr(args, name)]
    if (folder / "recipe.toml").exists():
        command.append("--resume")
    subprocess.run(command, check=True)
    return folder


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def spread(values):
    if len(values) < 2:
        return f"{values[0]:.1f}"
    half = STUDENT[min(len(values) - 2, len(STUDENT) - 1)] * statistics.stdev(values) / math.sqrt(len(values))
    return f"{statistics.mean(values):.1f} ± {half:.1f}"


if __name__ == "__main__":
    main()
