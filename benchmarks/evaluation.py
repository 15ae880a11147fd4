"""Time the parts of evaluation on a CPU: vertebra beside the usual tools, interleaved.

    cargo build --release
    python benchmarks/evaluation.py --data path/to/photographs --json benchmarks/evaluation.json

Every contender runs in processes of its own on the same `--workers` cores (default 2, and as many threads), `--rounds`
times in turn. Medians over rounds, with the lowest and the highest; ratios are to the first row, above 1 where vertebra is
better. `--parts` chooses among

- extract: features of the JPEG files of `--data`, ResNet-50 and ViT-S/16 at 224 pixels, the same random weights. Of vertebra
  the whole process is timed, with an empty cache: start, weights, files, network, the written array. Of timm only the loop
  over a torchvision DataLoader, without Python's start. timm-last is timm with channels last (ResNet-50 only).
- sweep: a linear probe with 30 settings on 10,000 rows of 512 numbers and 20 classes: all are fitted on nine tenths, the best
  on all. torch fits one after the other by SGD, 30 epochs, as vertebra's `linear` does in one pass; sklearn is
  LogisticRegression with 30 values of C, beside vertebra's `logistic` with the same.
- knn: for each of 10,000 random features of 512 numbers, the exact 20 nearest of 50,000 by cosine similarity. Rows are made
  of length one, and that is timed. faiss: IndexFlatIP. sklearn: NearestNeighbors, brute force. torch: one matrix product
  per 1,024 queries, and topk. The figure of a process is the median of three searches.
"""

import json
import shutil
import tempfile
import time
from pathlib import Path

import common

REQUIREMENTS = [
    "torch==2.11.0",
    "torchvision==0.26.0",
    "timm==1.0.31",
    "safetensors==0.8.0",
    "faiss-cpu==1.15.1",
    "scikit-learn==1.9.1",
    "numpy==2.4.6",
]
RIVALS = Path(__file__).resolve().parent / "rivals"
KNN = {"queries": 10_000, "candidates": 50_000, "width": 512, "k": 20}
SWEEP = {"rows": 10_000, "width": 512, "classes": 20, "settings": 30, "epochs": 30}
PARTS = ["extract", "sweep", "knn"]


def main():
    parser = common.options(__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="a folder of JPEG photographs (extract)")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    args = parser.parse_args()
    common.use_cores(args.workers)
    python = common.python_with(args.venv, REQUIREMENTS)
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        for part in args.parts:
            for title, contenders in globals()[part](args, python, Path(folder)).items():
                results[title] = common.measured(title, chosen(args, contenders), args.rounds)
                report(title, results[title])
    if args.json:
        packages = common.versions(python, [common.name(one) for one in REQUIREMENTS])
        setting = {"knn": KNN, "sweep": SWEEP, "rounds": args.rounds, "workers": args.workers}
        args.json.write_text(json.dumps(common.record(setting, packages, results), indent=2) + "\n")


def extract(args, python, folder):
    if args.data is None:
        raise SystemExit("error: extract needs --data, a folder of JPEG photographs")
    common.run([python, RIVALS / "extract.py", "make", folder])
    found = {}
    for model in ("resnet50", "vit_small"):
        for precision in ("fp32", "bf16"):
            rival = [python, RIVALS / "extract.py", "run", folder, f"--model={model}", f"--images={args.data.absolute()}"]
            rival += [f"--precision={precision}", f"--workers={args.workers}"]
            contenders = {
                "vertebra": lambda model=model, precision=precision: ours(args, folder, model, precision),
                "timm": lambda rival=rival: common.run_json(rival),
            }
            if model == "resnet50":
                contenders["timm-last"] = lambda rival=rival: common.run_json([*rival, "--channels-last"])
            found[f"extract {model} {precision}"] = contenders
    return found


def ours(args, folder, model, precision):
    """The whole process of an extraction that finds nothing in its cache."""
    cache = folder / "cache"
    shutil.rmtree(cache, ignore_errors=True)
    encoder = f"{model}={folder / model}.safetensors"
    command = ["env", f"XDG_CACHE_HOME={cache}", args.program.absolute(), "embed", encoder, args.data.absolute()]
    start = time.perf_counter()
    common.run([*command, "--out", folder / "features.npy", "--device", "cpu", "--precision", precision])
    return {"seconds": time.perf_counter() - start}


def sweep(args, python, folder):
    sizes = [f"--{name}={value}" for name, value in SWEEP.items()]
    program = ["env", f"OMP_NUM_THREADS={args.workers}", args.program, "bench", "sweep", *sizes, "--json"]
    rival = [python, RIVALS / "sweep.py"]
    theirs = [f"--threads={args.workers}", *sizes]
    run = common.run_json
    return {
        "sweep by SGD": {
            "vertebra": lambda: run(program),
            "torch": lambda: run([*rival, "torch", *theirs]),
        },
        "sweep by L-BFGS": {
            "vertebra": lambda: run([*program, "--lbfgs"]),
            "sklearn": lambda: run([*rival, "sklearn", *theirs]),
        },
    }


def knn(args, python, folder):
    sizes = [f"--{name}={value}" for name, value in KNN.items()]
    threads = f"OMP_NUM_THREADS={args.workers}"
    commands = {"vertebra": ["env", threads, args.program, "bench", "knn", *sizes, "--json"]}
    for rival in ("faiss", "sklearn", "torch"):
        commands[rival] = ["env", threads, python, RIVALS / "knn.py", rival, f"--threads={args.workers}", *sizes]
    return {"knn": {name: lambda command=command: common.run_json(command) for name, command in commands.items()}}


def chosen(args, contenders):
    wanted = args.contenders or [""]
    return {name: run for name, run in contenders.items() if any(word in name for word in wanted)}


def report(title, results):
    spreads = {name: common.spread(entry["runs"], "seconds") for name, entry in results.items()}
    first = next(iter(spreads.values()))
    rows = [
        [name, common.figure(spread, 2) or results[name].get("failure", ""), common.ratio(spread, first)]
        for name, spread in spreads.items()
    ]
    common.table([title, "s", "ratio"], rows)


if __name__ == "__main__":
    main()
