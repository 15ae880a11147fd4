"""Time one training step in PyTorch and in vertebra, interleaved.

    cargo build --release
    python benchmarks/step.py --json benchmarks/step.json

Three workloads, all on 32-pixel images, 128 to a step, random pixels that already lie in memory:

- r18: ResNet-18 with the small-image stem, projector 2048-2048-2048, the authors' VICReg loss and LARS.
- vit: ViT-Ti/4, the same projector and loss, AdamW. Like r18 with two views of each image.
- ijepa: I-JEPA, one view: ViT-Ti/4 without class token on the patches of the context, a predictor of 6 blocks of 96, four
  targets, the teacher on all patches, smooth L1, AdamW, and the teacher's average. Masks are drawn for each step on both sides, here
  once for all images of a batch (which is cheaper than one for each, as vertebra draws them), with as many patches.

A step is: forward of the views, loss, backward, optimizer update. Each contender runs in a process of its own
with all cores (or the CUDA device, if PyTorch finds one), `--rounds` times; every round visits all contenders,
odd rounds in reverse order, so that a slow minute of the machine hits everyone. The figure of a process is its
median step, the figure of a contender the median over its rounds. Rates count source images, not views.

PyTorch runs in fp32 and in bf16 autocast (the loss always in float32), eager, channels-last and compiled; AdamW
is its fused one. PyTorch, timm and torchvision are taken from the Python that runs this script, or else from
`.venv-bench` in the repository root, which is made and filled (some 5 GB) when neither has them.
"""

import argparse
import contextlib
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

import common

ROOT, VENV, VERTEBRA = common.ROOT, common.VENV, common.VERTEBRA
REQUIREMENTS = ["torch==2.11.0", "torchvision", "timm", "numpy"]

BATCH = 128
IMAGE = 32
PRECISIONS = ["fp32", "bf16"]
WORKLOADS = {"r18": "recipes/bench-r18.toml", "vit": "recipes/bench-vit.toml", "ijepa": "recipes/bench-ijepa.toml"}
WARM_UP = 3


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=common.positive, default=5, help="processes per contender (default: 5)")
    parser.add_argument("--steps", type=common.positive, default=20, help="timed steps per PyTorch process (default: 20)")
    parser.add_argument("--only", choices=list(WORKLOADS), help="one workload instead of all")
    parser.add_argument("--skip-compile", action="store_true", help="leave torch.compile out")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every measurement to FILE")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        print(json.dumps(pytorch_step(*args.worker.split("/"), args.steps)))
        return

    compiles = not args.skip_compile
    if compiles and not any(map(shutil.which, ["g++", "c++", "clang++"])):
        print("torch.compile is left out: no C++ compiler found (g++, c++ or clang++)", file=sys.stderr)
        compiles = False
    python = python_with_torch()
    workloads = [args.only] if args.only else list(WORKLOADS)
    results = {}
    for workload in workloads:
        contenders = commands(workload, python, args.steps, compiles)
        results[workload] = summary(measured(workload, contenders, args.rounds))
        print_table(workload, results[workload])
    if args.json:
        machine = {"processor": common.processor(), "cores": common.cores(), "system": platform.platform()}
        setting = {"batch": BATCH, "views": 2, "image": IMAGE, "rounds": args.rounds, "steps": args.steps}
        args.json.write_text(json.dumps({"machine": machine, "setting": setting, "results": results}, indent=2) + "\n")


# ---- contenders -------------------------------------------------------------------------------------------------


def commands(workload, python, steps, compiles):
    """Each contender's (precision, command) by name."""
    layouts = ["eager"]
    layouts += ["channels_last"] if workload == "r18" else []
    layouts += ["compile"] if compiles else []
    contenders = {}
    for precision in PRECISIONS:
        # bf16 is the recipe's own choice on processors that have it, but a comparison must not depend on that.
        options = ["--set", f"precision={precision}", "--json"]
        ours = [VERTEBRA, "bench", "step", ROOT / WORKLOADS[workload], *options]
        contenders[f"vertebra {precision}"] = (precision, ours)
        for layout in layouts:
            worker = ["--worker", f"{workload}/{precision}/{layout}", "--steps", str(steps)]
            contenders[f"pytorch {layout} {precision}"] = (precision, [python, Path(__file__).resolve(), *worker])
    return contenders


def measured(workload, contenders, rounds):
    """Runs every contender once per round. A contender that fails is reported once and not run again."""
    runs = {name: {"precision": precision, "runs": []} for name, (precision, _) in contenders.items()}
    for round_ in range(rounds):
        for name in list(contenders) if round_ % 2 == 0 else list(contenders)[::-1]:
            if "failure" in runs[name]:
                continue
            print(f"{workload}: round {round_ + 1} of {rounds}, {name}", file=sys.stderr)
            precision, command = contenders[name]
            try:
                figures = run(command)
                if figures["precision"] != precision:
                    raise RuntimeError(f"expected precision {precision}, but it ran in {figures['precision']}")
                runs[name]["runs"].append(figures)
            except RuntimeError as failure:
                runs[name]["failure"] = str(failure)
                print(f"  failed: {failure}", file=sys.stderr)
    return runs


def run(command):
    """The JSON object that a contender prints."""
    environment = os.environ | {"OMP_NUM_THREADS": str(common.cores())}
    try:
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, env=environment, cwd=ROOT)
    except FileNotFoundError:
        raise RuntimeError(f"{command[0]} does not exist; build it with `cargo build --release`") from None
    if done.returncode != 0:
        raise RuntimeError((done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1])
    try:
        return json.loads(done.stdout[done.stdout.index("{") :])
    except ValueError:
        raise RuntimeError(f"expected one JSON object, found {done.stdout[:200]!r}") from None


def summary(runs):
    """Medians over rounds, and how many times longer each contender takes than vertebra at its precision."""
    for entry in runs.values():
        if entry["runs"]:
            times = [one["ms_per_step"] for one in entry["runs"]]
            entry |= {"ms_per_step": statistics.median(times), "lowest": min(times), "highest": max(times)}
            entry["images_per_s"] = 1000 * BATCH / entry["ms_per_step"]
            entry["peak_memory_mb"] = statistics.median(one["peak_memory_mb"] for one in entry["runs"])
            entry["device"] = entry["runs"][0]["device"]
    for precision in PRECISIONS:
        ours = runs[f"vertebra {precision}"]
        rivals = [e for n, e in runs.items() if e["precision"] == precision and "ms_per_step" in e and "pytorch" in n]
        for rival in rivals:
            rival["best_pytorch"] = rival is min(rivals, key=lambda entry: entry["ms_per_step"])
            # A ratio across devices would compare nothing.
            comparable = rival["device"] == ours.get("device")
            rival["ratio"] = rival["ms_per_step"] / ours["ms_per_step"] if comparable else None
    return runs


def print_table(workload, results):
    print(f"\n{workload}: {BATCH} images, {IMAGE} px (ratio: time over vertebra's at the same precision)\n")
    print("| contender | ms per step | lowest - highest | images/s | peak MB | device | ratio |")
    print("|---|---:|---:|---:|---:|---|---:|")
    for name, entry in results.items():
        if "ms_per_step" not in entry:
            print(f"| {name} | not run | | | | | |")
            continue
        best = " (best PyTorch)" if entry.get("best_pytorch") else ""
        ratio = f"{entry['ratio']:.2f}" if entry.get("ratio") else ""
        spread = f"{entry['lowest']:.0f} - {entry['highest']:.0f}"
        figures = f"{entry['ms_per_step']:.0f} | {spread} | {entry['images_per_s']:.0f} | {entry['peak_memory_mb']:.0f}"
        print(f"| {name}{best} | {figures} | {entry['device']} | {ratio} |")
    failures = {name: entry["failure"] for name, entry in results.items() if "failure" in entry}
    for name, failure in failures.items():
        print(f"\n{name} failed after {len(results[name]['runs'])} runs: {failure}")


# ---- PyTorch's side, in a process of its own ------------------------------------------------------------------------


def pytorch_step(workload, precision, layout, steps):
    """Times `steps` training steps and returns the figures that `vertebra bench step --json` prints."""
    import torch

    torch.manual_seed(0)
    torch.set_num_threads(common.cores())
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.backends.cudnn.benchmark = True
    if workload == "ijepa":
        return timed(ijepa_step(device, precision, layout), steps, precision, device)
    memory_format = torch.channels_last if workload == "r18" and layout != "eager" else torch.contiguous_format
    model = network(workload).to(device, memory_format=memory_format).train()
    views = torch.randn(2, BATCH, 3, IMAGE, IMAGE, device=device)
    views = [view.to(memory_format=memory_format) for view in views]
    update = lars(model.parameters()) if workload == "r18" else adamw(model.parameters())
    forward = torch.compile(model) if layout == "compile" else model

    def step():
        autocast = torch.autocast(device.type, torch.bfloat16) if precision == "bf16" else contextlib.nullcontext()
        with autocast:
            za, zb = (forward(view) for view in views)
        vicreg(za.float(), zb.float()).backward()
        update()
        model.zero_grad(set_to_none=True)

    return timed(step, steps, precision, device)


def timed(step, steps, precision, device):
    """The figures of a step that was made ready."""
    import torch

    def whole():
        step()
        if device.type == "cuda":
            torch.cuda.synchronize()

    for _ in range(WARM_UP):
        whole()
    times = []
    for _ in range(steps):
        start = time.perf_counter()
        whole()
        times.append(1000 * (time.perf_counter() - start))
    ms = statistics.median(times)
    return {
        "ms_per_step": ms,
        "images_per_s": 1000 * BATCH / ms,
        "precision": precision,
        "device": device.type,
        "peak_memory_mb": torch.cuda.max_memory_allocated() / 1e6 if device.type == "cuda" else peak_resident_mb(),
        "torch": torch.__version__,
    }


def network(workload):
    """Backbone and projector."""
    from torch import nn

    if workload == "r18":
        import torchvision

        backbone, width = torchvision.models.resnet18(weights=None), 512
        backbone.conv1 = nn.Conv2d(3, 64, 3, stride=1, padding=1, bias=False)
        backbone.maxpool = backbone.fc = nn.Identity()
    else:
        import timm

        backbone, width = timm.create_model("vit_tiny_patch16_224", img_size=IMAGE, patch_size=4, num_classes=0), 192
    hidden = 2048
    layers = []
    for given in (width, hidden):
        layers += [nn.Linear(given, hidden), nn.BatchNorm1d(hidden), nn.ReLU(inplace=True)]
    return nn.Sequential(backbone, *layers, nn.Linear(hidden, hidden, bias=False))


def ijepa_step(device, precision, layout):
    """I-JEPA as one would write it: timm's blocks, masks by gathering tokens."""
    import copy
    import random

    import torch
    from timm.models.vision_transformer import Block
    from torch import nn
    from torch.nn import functional

    grid, width, narrow = IMAGE // 4, 192, 96

    def positions(dimensions):
        """Sines and cosines of column and row."""
        omega = 10000 ** -(torch.arange(dimensions // 4) / (dimensions // 4))
        row, column = torch.meshgrid(torch.arange(grid), torch.arange(grid), indexing="ij")
        codes = [f(axis.reshape(-1, 1) * omega) for axis in (column, row) for f in (torch.sin, torch.cos)]
        return torch.cat(codes, dim=1).to(device)

    def at(tokens, places):
        return tokens.gather(1, places.unsqueeze(-1).expand(-1, -1, tokens.shape[2]))

    class Encoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Conv2d(3, width, 4, stride=4)
            self.blocks = nn.ModuleList(Block(width, 3, qkv_bias=True) for _ in range(12))
            self.norm = nn.LayerNorm(width, eps=1e-6)

        def forward(self, images, places=None):
            x = self.embed(images).flatten(2).transpose(1, 2) + positions(width)
            x = x if places is None else at(x, places)
            for block in self.blocks:
                x = block(x)
            return self.norm(x)

    class Predictor(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.proj = nn.Linear(width, narrow), nn.Linear(narrow, width)
            self.mask = nn.Parameter(0.02 * torch.randn(1, 1, narrow))
            self.blocks = nn.ModuleList(Block(narrow, 3, qkv_bias=True) for _ in range(6))
            self.norm = nn.LayerNorm(narrow, eps=1e-6)

        def forward(self, context, seen, asked):
            table = positions(narrow).expand(len(context), -1, -1)
            x = torch.cat([self.embed(context) + at(table, seen), self.mask + at(table, asked)], dim=1)
            for block in self.blocks:
                x = block(x)
            return self.proj(self.norm(x[:, -asked.shape[1] :]))

    encoder, predictor = Encoder().to(device), Predictor().to(device)
    teacher = copy.deepcopy(encoder).requires_grad_(False)
    if layout == "compile":
        encoder, predictor = torch.compile(encoder, dynamic=True), torch.compile(predictor, dynamic=True)
    parameters = [*encoder.parameters(), *predictor.parameters()]
    update = adamw(parameters)
    images = torch.randn(BATCH, 3, IMAGE, IMAGE, device=device)
    draw = random.Random(0)

    def block(scale, aspect):
        area, ratio = int(grid * grid * draw.uniform(*scale)), draw.uniform(*aspect)
        height, wide = (min(round((area * ratio) ** 0.5), grid), min(round((area / ratio) ** 0.5), grid))
        return lambda: place(height, wide)

    def place(height, wide):
        top, left = draw.randint(0, grid - height), draw.randint(0, grid - wide)
        return {row * grid + column for row in range(top, top + height) for column in range(left, left + wide)}

    def rows(places):
        return torch.tensor(sorted(places), device=device).expand(BATCH, -1)

    def masks():
        target, context = block((0.15, 0.2), (0.75, 1.5)), block((0.85, 1.0), (1.0, 1.0))
        targets = [target() for _ in range(4)]
        seen = context() - set().union(*targets)
        # The shortest context of a batch of images that each have their own: what all are cut to.
        for _ in range(BATCH - 1):
            other = context() - set().union(*(target() for _ in range(4)))
            seen = set(sorted(seen)[: len(other)]) if len(other) < len(seen) else seen
        return rows(seen), [rows(target) for target in targets]

    def step():
        seen, asked = masks()
        autocast = torch.autocast(device.type, torch.bfloat16) if precision == "bf16" else contextlib.nullcontext()
        with autocast:
            context = encoder(images, seen)
            answers = predictor(context.repeat(4, 1, 1), seen.repeat(4, 1), torch.cat(asked))
            with torch.no_grad():
                goal = teacher(images)
        goal = functional.layer_norm(goal.float(), (width,))
        goal = torch.cat([at(goal, places) for places in asked])
        functional.smooth_l1_loss(answers.float(), goal).backward()
        update()
        for parameter in parameters:
            parameter.grad = None
        with torch.no_grad():
            torch._foreach_lerp_(list(teacher.parameters()), list(encoder.parameters()), 0.004)

    return step


def vicreg(za, zb):
    """The authors' form: 25 invariance + 25 variance (mean over views) + 1 covariance (sum over views)."""
    n, d = za.shape
    loss = 25 * (za - zb).square().mean()
    for z in (za, zb):
        z = z - z.mean(dim=0)
        loss = loss + 25 * (1 - (z.var(dim=0) + 1e-4).sqrt()).relu().mean() / 2
        covariance = z.T @ z / (n - 1)
        loss = loss + (covariance.square().sum() - covariance.diagonal().square().sum()) / d
    return loss


def lars(parameters, lr=0.1, weight_decay=1e-6, momentum=0.9, trust=0.001):
    """The update of VICReg's authors: one loop over tensors; 1-D tensors get neither decay nor scaling."""
    import torch

    parameters = list(parameters)
    buffers = [torch.zeros_like(p) for p in parameters]

    @torch.no_grad()
    def update():
        for p, buffer in zip(parameters, buffers):
            direction = p.grad
            if p.ndim > 1:
                direction = direction.add(p, alpha=weight_decay)
                p_norm, d_norm = p.norm(), direction.norm()
                scale = torch.where((p_norm > 0) & (d_norm > 0), trust * p_norm / d_norm, torch.ones_like(p_norm))
                direction = direction * scale
            buffer.mul_(momentum).add_(direction)
            p.add_(buffer, alpha=-lr)

    return update


def adamw(parameters):
    import torch

    return torch.optim.AdamW(parameters, lr=5e-4, weight_decay=0.05, fused=True).step


# ---- the machine ----------------------------------------------------------------------------------------------------


def python_with_torch():
    """A Python that imports what the PyTorch contenders need; makes `.venv-bench` as a last resort."""
    own = VENV / "bin" / "python"
    for python in (Path(sys.executable), own):
        probe = [python, "-c", "import torch, torchvision, timm"]
        if python.exists() and subprocess.run(probe, capture_output=True).returncode == 0:
            return python
    print(f"PyTorch is not importable: installing {' '.join(REQUIREMENTS)} into {VENV}", file=sys.stderr)
    subprocess.run([sys.executable, "-m", "venv", VENV], check=True)
    subprocess.run([own, "-m", "pip", "install", "--quiet", *REQUIREMENTS], check=True)
    return own


def peak_resident_mb():
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


if __name__ == "__main__":
    main()
