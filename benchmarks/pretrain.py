"""Time a whole small pretraining, from files to the last step: vertebra beside lightly, interleaved.

    cargo build --release
    python benchmarks/pretrain.py --data photographs --json benchmarks/pretrain.json

VICReg with ResNet-18 at 96 pixels on a folder of photographs, batch 64, `--epochs` passes (default 2), on the same
`--workers` cores (default 2) for views and for training together. Both sides have one policy, projector (2048-2048)
and optimizer, those of lightly's VICReg example, but for the rate of SGD: a tenth of the example's 0.06, with which
batches of 64 diverge. The loop is benchmarks/rivals/pretrain.py, written with lightly's public parts.

- vertebra fp32: the recipe below in float32.
- vertebra: the recipe in the precision that the program chooses for the machine.
- lightly: the example's settings: a DataLoader whose workers start anew each epoch, float32.
- lightly tuned, fp32 and bf16: the same with persistent workers, channels-last and OMP_WAIT_POLICY=passive, which
  keeps the compute threads from fighting with the workers, and in bf16 with autocast around the network.

Two times are given. Training: from the moment everything is built to the end of the last step; it includes waiting
for the first batch and, for vertebra, its journal, its health figures (k-NN among them where the folder has classes),
and the checkpoint at the end; lightly's loop saves nothing and measures nothing. Process: the whole process, from its
start to its end, with imports and, for vertebra, the report. Processor time is that of the whole process and its
workers. Medians over `--rounds` processes per contender (lowest - highest), odd rounds in reverse order; ratios are
to vertebra at the same precision, above 1 where vertebra is faster.
"""

import json
import os
import subprocess
import tempfile
import time
from pathlib import Path

import common

REQUIREMENTS = ["torch==2.11.0", "torchvision==0.26.0", "pillow==13.0.0", "lightly==1.6.0", "numpy==2.4.6"]
SIZE = 96
RATE = 0.006
# lightly's SGD has neither momentum nor a schedule; vertebra's rate is for 256 images.
RECIPE = """epochs = {epochs}
batch = {batch}
workers = {workers}
final_lr = 1.0
checkpoint_every = {epochs}
[data]
train = {data}
[[views]]
count = 2
size = {size}
crop.interpolation = "bilinear"
[backbone]
name = "resnet18"
[method]
name = "vicreg"
variance_branches = "mean"
covariance_branches = "sum"
projector.widths = [{width}, {width}]
[optimizer]
name = "sgd"
lr = {rate}
momentum = 0.0
weight_decay = 0.0
[evaluation]
skip = true
"""


def main():
    parser = common.options(__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="a folder of photographs")
    parser.add_argument("--epochs", type=common.positive, default=2)
    parser.add_argument("--batch", type=common.positive, default=64)
    parser.add_argument("--width", type=common.positive, default=2048, help="of both projector layers")
    args = parser.parse_args()
    common.use_cores(args.workers)
    python = common.python_with(args.venv, REQUIREMENTS)
    with tempfile.TemporaryDirectory() as folder:
        chosen = contenders(python, Path(folder), args)
        for path in args.data.rglob("*"):
            if path.is_file():
                path.read_bytes()  # into the page cache, for all alike
        results = common.measured("pretrain", chosen, args.rounds)
    print_table(results, args)
    if args.json:
        setting = {name: getattr(args, name) for name in ("epochs", "batch", "width", "workers", "rounds")}
        setting |= {"size": SIZE, "rate": RATE, "data": args.data.name}
        packages = common.versions(python, list(map(common.name, REQUIREMENTS)))
        args.json.write_text(json.dumps(common.record(setting, packages, results), indent=2) + "\n")


# ---- contenders -----------------------------------------------------------------------------------------------------


def contenders(python, folder, args):
    """Each contender's run by name."""
    recipe = folder / "recipe.toml"
    values = {"epochs": args.epochs, "batch": args.batch, "workers": args.workers, "width": args.width, "size": SIZE}
    data = args.data.resolve()
    recipe.write_text(RECIPE.format(**values, data=json.dumps(str(data)), rate=RATE * 256 / args.batch))

    def ours(*options):
        out = tempfile.mkdtemp(dir=folder)
        return timed([args.program, "pretrain", recipe, "--out", Path(out) / "run", "--json", *options], args)

    def lightly(*options, environment=None):
        script = Path(__file__).resolve().parent / "rivals" / "pretrain.py"
        numbers = [part for name, value in (values | {"rate": RATE}).items() for part in (f"--{name}", value)]
        return timed([python, script, "--data", data, *numbers, *options], args, environment)

    passive = {"OMP_WAIT_POLICY": "passive"}
    chosen = {
        "vertebra fp32": lambda: ours("--set", "precision=fp32"),
        "vertebra": ours,
        "lightly": lightly,
        "lightly tuned fp32": lambda: lightly("--tuned", environment=passive),
        "lightly tuned bf16": lambda: lightly("--tuned", "--precision", "bf16", environment=passive),
    }
    return {name: run for name, run in chosen.items() if not args.contenders or matches(name, args.contenders)}


def matches(name, parts):
    return any(part in name for part in parts)


def timed(command, args, environment=None):
    """Runs a command that prints JSON lines, and times `begin` to the last line of training as they arrive."""
    environment = common.environment() | (environment or {})
    start = time.perf_counter()
    begun, ended, told = None, None, {}
    with tempfile.TemporaryFile("w+") as errors:
        try:
            pipes = {"stdout": subprocess.PIPE, "stderr": errors, "text": True}
            process = subprocess.Popen(list(map(str, command)), **pipes, env=environment, cwd=common.ROOT)
        except FileNotFoundError:
            raise RuntimeError(f"{command[0]} does not exist; build it with `cargo build --release`") from None
        for line in process.stdout:
            now = time.perf_counter()
            event = json.loads(line) if line.startswith("{") else {}
            if "begin" in event:
                begun, told = now, event["begin"].get("run", event["begin"])
            # The last step's end, and for vertebra the checkpoint after it.
            if "end" in event or "saved" in event:
                ended = now
            loss = (event.get("end") or event.get("line") or {}).get("loss")
            told = told if loss is None else told | {"loss": loss}
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - start
        errors.seek(0)
        said = errors.read()
    if process.returncode != 0 or begun is None or ended is None:
        raise RuntimeError(common.complaint(said) or "no figures")
    images = told["images"] // args.batch * args.batch * args.epochs
    return {
        "training_s": ended - begun,
        "process_s": seconds,
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "images_per_s": images / (ended - begun),
        "precision": told["precision"],
        "loss": told.get("loss"),
    }


# ---- reporting ------------------------------------------------------------------------------------------------------


def print_table(results, args):
    print(f"\nVICReg, ResNet-18, {SIZE} px, batch {args.batch}, {args.epochs} epochs of {args.data.name}\n")
    ours = {}
    for name, entry in results.items():
        if name.startswith("vertebra") and entry["runs"]:
            ours.setdefault(entry["runs"][0]["precision"], entry["runs"])
    rows = []
    for name, entry in results.items():
        runs = entry["runs"]
        if not runs:
            rows.append([name, f"failed: {entry.get('failure', 'no run')[:120]}", "", "", "", "", "", ""])
            continue
        training, process, cpu, speed = (
            common.spread(runs, field) for field in ("training_s", "process_s", "cpu_s", "images_per_s")
        )
        rival = ours.get(runs[0]["precision"], [])
        rows.append([
            name, runs[0]["precision"], common.figure(training), common.figure(process), common.figure(cpu),
            f"{speed[0]:.0f}", common.ratio(training, common.spread(rival, "training_s")),
            common.ratio(process, common.spread(rival, "process_s")),
        ])
    head = ["contender", "precision", "training s", "process s", "CPU s", "images/s", "ratio training", "ratio process"]
    common.table(head, rows)


if __name__ == "__main__":
    main()
