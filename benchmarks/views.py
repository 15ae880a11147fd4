"""Time the making of random views from files on a CPU: vertebra beside the usual Python pipelines, interleaved.

    cargo build --release
    python benchmarks/views.py --data photographs --cifar cifar-10-batches-bin --json benchmarks/views.json

`--data` is any folder of JPEGs. Every contender reads the same files (in the page cache by then), decodes each image
once and makes from it the views of one policy, VICReg's: random resized crop (bicubic), flip .5, colour jitter .4 .4
.2 .1 with probability .8, grey .2, Gaussian blur .5 with sigma .1 to 2, solarize .1, normalised to float32 [3, S, S],
in batches of 64. Settings: two views of 224 pixels; two of 96; two of 32 from CIFAR's binary files; SwAV's six crops
(2 x 224 of .14 to 1 of the area, 4 x 96 of .05 to .14).

Each contender runs in processes of its own on the same `--workers` cores (default 2, and as many threads or loader
processes), `--rounds` times in turn. Figures: processor time per image over all its processes (the one to trust on a
machine that is not quiet), images per second, and peak memory; each between two deliveries of batches in a steady
state, so that starting is not in them. Medians over rounds, with the lowest and the highest; ratios are to the first
row, above 1 where vertebra is better. A contender that fails has a row that says why.

What differs, in each contender's own documented use:

- torchvision-pil: the recipe of most repositories: Pillow, antialiased; blur by Pillow's three box passes;
  DataLoader.
- torchvision-tensors: v2 transforms on uint8 tensors, decode_jpeg; antialiased; blur with a true kernel of a tenth of
  the view's width; DataLoader.
- albumentations with simplejpeg and OpenCV: crops are NOT antialiased, as OpenCV's bicubic resize is not, which
  spares it most of the work of scaling down; true blur kernel; DataLoader.
- kornia-rs: bicubic, antialiased; jitter in a fixed order in one pass; true blur kernel; the rest joined with numpy
  and torch; DataLoader.
- dali: NVIDIA DALI's CPU operators, no GPU; antialiased; jitter and grey in a fixed order as one colour matrix,
  contrast about a fixed grey instead of the image's mean; true blur kernel; threads of its own, no Python per image.
- vertebra: antialiased; of a JPEG only the part that its views need is decoded, at a half, a quarter or an eighth of
  its size where every crop allows. With `--exact` it is decoded at its full size.
- The decode rows are what reading and decoding alone cost: vertebra's as it decodes for these views, simplejpeg's of
  whole images in DataLoader.
"""

import json
import tempfile
from pathlib import Path

import common

REQUIREMENTS = [
    "torch==2.11.0",
    "torchvision==0.26.0",
    "pillow==13.0.0",
    "albumentations==2.0.8",
    "opencv-python-headless==5.0.0.93",
    "simplejpeg==1.9.0",
    "kornia-rs==0.2.0",
    "nvidia-dali-cuda120==2.4.0",
    "numpy==2.4.6",
]
RIVALS = ["torchvision-pil", "torchvision-tensors", "albumentations", "kornia-rs", "dali"]
DECODE = "simplejpeg-decode"
BATCH = 64
SETTINGS = {
    "2x224": [{"count": 2, "size": 224, "scale": [0.08, 1.0]}],
    "2x96": [{"count": 2, "size": 96, "scale": [0.08, 1.0]}],
    "2x32-cifar": [{"count": 2, "size": 32, "scale": [0.08, 1.0]}],
    "2x224+4x96": [{"count": 2, "size": 224, "scale": [0.14, 1.0]}, {"count": 4, "size": 96, "scale": [0.05, 0.14]}],
}
# Views as a recipe has them; what is not written is VICReg's policy. The rest is only what every recipe must have.
RECIPE = """epochs = 1
batch = {batch}
workers = {workers}
{views}
[data]
train = {data}
[backbone]
name = "resnet18"
[method]
name = "simclr"
projector = {{ widths = [512, 128], hidden_norm = true }}
[optimizer]
name = "adamw"
lr = 1e-3
"""


def main():
    parser = common.options(__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, metavar="DIR", help="a folder of JPEGs, for all settings but CIFAR's")
    parser.add_argument("--cifar", type=Path, metavar="DIR", help="a folder of CIFAR-10's binary files")
    parser.add_argument("--settings", nargs="+", choices=list(SETTINGS), default=list(SETTINGS), help="default: all")
    parser.add_argument("--seconds", type=float, default=10, help="measured time of each process (default: 10)")
    args = parser.parse_args()
    common.use_cores(args.workers)
    python = common.python_with(args.venv, REQUIREMENTS)
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        for setting in args.settings:
            data = args.cifar if setting.endswith("cifar") else args.data
            if data is None:
                print(f"{setting}: left out, {'--cifar' if setting.endswith('cifar') else '--data'} is not given")
                continue
            warm(data)
            chosen = contenders(setting, data.resolve(), python, Path(folder), args)
            results[setting] = common.measured(setting, chosen, args.rounds)
            print_table(setting, data, results[setting])
    if args.json:
        setting = {"batch": BATCH, "workers": args.workers, "rounds": args.rounds, "seconds": args.seconds,
                   "views": SETTINGS, "data": {"photographs": described(args.data), "cifar": described(args.cifar)}}
        packages = common.versions(python, list(map(common.name, REQUIREMENTS)))
        args.json.write_text(json.dumps(common.record(setting, packages, results), indent=2) + "\n")


# ---- contenders -----------------------------------------------------------------------------------------------------


def contenders(setting, data, python, folder, args):
    """Each contender's run by name."""
    views = SETTINGS[setting]
    ours = [args.program, "bench", "views", *our_options(setting, data, folder, args)]
    chosen = {"vertebra": ours, "vertebra --exact": [*ours, "--exact"]}
    rivals = RIVALS if setting.endswith("cifar") else [*RIVALS, DECODE]
    for rival in rivals:
        options = ["--data", data, "--views", json.dumps(views), "--batch", BATCH, "--workers", args.workers]
        script = Path(__file__).resolve().parent / "rivals" / "views.py"
        chosen[rival] = [python, script, rival, *options, "--seconds", args.seconds]
    wanted = [name for name in chosen if not args.contenders or any(part in name for part in args.contenders)]
    return {name: lambda command=chosen[name]: common.run_json(command) for name in wanted}


def our_options(setting, data, folder, args):
    views, source = SETTINGS[setting], f"cifar:{data}" if setting.endswith("cifar") else str(data)
    options = ["--data", source, "--seconds", args.seconds, "--json"]
    if len(views) == 1 and views[0]["scale"] == [0.08, 1.0]:
        plan = ["--views", views[0]["count"], "--size", views[0]["size"]]
        return [*plan, "--batch", BATCH, "--workers", args.workers, *options]
    recipe = folder / f"{setting}.toml"
    entries = [f"[[views]]\ncount = {v['count']}\nsize = {v['size']}\ncrop.scale = {v['scale']}" for v in views]
    text = RECIPE.format(batch=BATCH, workers=args.workers, views="\n".join(entries), data=json.dumps(source))
    recipe.write_text(text)
    return [recipe, *options]


# ---- reporting ------------------------------------------------------------------------------------------------------


def print_table(setting, data, results):
    """One setting's table; the decode rows come last and have no ratio."""
    print(f"\n{setting}: batches of {BATCH} from {data.name}; median (lowest - highest)\n")
    figures = {name: entry["runs"] for name, entry in results.items()}
    cpu = {name: common.spread(runs, "cpu_ms_per_image") for name, runs in figures.items()}
    speed = {name: common.spread(runs, "images_per_s") for name, runs in figures.items()}
    best_cpu, best_speed = cpu.get("vertebra"), speed.get("vertebra")
    rows = []
    for name, runs in figures.items():
        if not runs:
            rows.append([name, f"failed: {results[name].get('failure', 'no run')[:120]}", "", "", "", ""])
            continue
        memory = common.spread(runs, "peak_memory_mb")
        ratios = ["", ""]
        if name != DECODE:
            ratios = [common.ratio(cpu[name], best_cpu), common.ratio(best_speed, speed[name])]
        rows.append([name, common.figure(cpu[name], 2), common.figure(speed[name], 0),
                     f"{memory[0]:.0f}" if memory else "", *ratios])
    decode = common.spread(figures.get("vertebra", []), "decode_ms_per_image")
    if decode and not setting.endswith("cifar"):
        rows.append(["vertebra, decoding alone", common.figure(decode, 2), "", "", "", ""])
    head = ["contender", "CPU ms per image", "images/s", "peak MB", "CPU ratio", "speed ratio"]
    common.table(head, rows)


def warm(folder):
    """Reads every file once, so that the first contender does not read for the others."""
    for path in folder.rglob("*"):
        if path.is_file():
            path.read_bytes()


def described(folder):
    """What was read, without where it lay."""
    if folder is None:
        return None
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {"name": folder.name, "files": len(files), "bytes": sum(path.stat().st_size for path in files)}


if __name__ == "__main__":
    main()
