"""Compare vertebra's features with timm's, network by network at full size, on the same weights and images.

    cargo build --release
    python benchmarks/parity.py --json benchmarks/parity.json

timm makes ResNet-50, ViT-S/16, ConvNeXt-T and Swin-T with seeded random weights, every parameter perturbed, and saves
them as safetensors. `vertebra embed NAME=FILE` reads these files unchanged, and reads the same PNG images, which both
sides resize (bicubic, short side 256) and crop (224) on their own, so preparing is in the comparison. A network's
figure is the largest difference from timm's features in float64, as a share of the largest feature; timm's own
float32 is beside it, and is what rounding alone costs. The script fails where vertebra's figure is above 1e-4.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

import common

REQUIREMENTS = [
    "torch==2.11.0",
    "torchvision==0.26.0",
    "timm==1.0.31",
    "pillow==13.0.0",
    "safetensors==0.8.0",
    "numpy==2.4.6",
]
TIMM = Path(__file__).resolve().parent / "rivals" / "features.py"
NETWORKS = ["resnet50", "vit_small", "convnext_tiny", "swin_tiny"]
# A hundred float32 roundings of the largest feature come to 6e-6; a wrong epsilon, a missing bias or another crop is
# far above this.
LIMIT = 1e-4


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", type=Path, default=common.VERTEBRA, help="default: target/release/vertebra")
    parser.add_argument("--venv", type=Path, default=common.VENV, help="timm's environment (default: .venv-bench)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure to FILE")
    args = parser.parse_args()
    python = common.python_with(args.venv, REQUIREMENTS)
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        common.run([python, TIMM, "make", folder])
        for name in NETWORKS:
            encoder, out = f"{name}={folder / name}.safetensors", folder / f"{name}.npy"
            compute = ["--device", "cpu", "--precision", "fp32"]
            common.run([args.program.absolute(), "embed", encoder, folder / "images", "--out", out, *compute])
        found = common.run_json([python, TIMM, "compare", folder])
    rows = [[name, *(f"{found[name][key]:.1e}" for key in ("vertebra", "timm", "spread"))] for name in NETWORKS]
    common.table(["network", "vertebra float32", "timm float32", "spread over images"], rows)
    if args.json:
        packages = common.versions(python, [common.name(one) for one in REQUIREMENTS])
        args.json.write_text(json.dumps(common.record({"limit": LIMIT}, packages, found), indent=1) + "\n")
    # Written so that a figure that is no number fails too.
    wrong = [name for name in NETWORKS if not found[name]["vertebra"] <= LIMIT]
    if wrong:
        sys.exit(f"error: {', '.join(wrong)}: features differ from timm's by more than {LIMIT}")


if __name__ == "__main__":
    main()
