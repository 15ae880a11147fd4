"""The features of a folder of photographs by timm behind a torchvision DataLoader; called by benchmarks/evaluation.py.

`make FOLDER`: saves NAME.safetensors with seeded random weights, and a config.json with the preprocessing. `run`: prints
one JSON line with the seconds of the loop: from the first image that is read to the last feature. Python's start, the
making of the model and its loading are not timed.
"""

import argparse
import json
import time
from pathlib import Path

import timm
import torch
from PIL import Image
from torchvision import transforms

MODELS = {"resnet50": "resnet50", "vit_small": "vit_small_patch16_224"}
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
PREPARED = {"input_size": [3, 224, 224], "crop_pct": 0.875, "interpolation": "bicubic", "mean": MEAN, "std": STD}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("step", choices=["make", "run"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", choices=list(MODELS))
    parser.add_argument("--images", type=Path)
    parser.add_argument("--precision", choices=["fp32", "bf16"])
    parser.add_argument("--channels-last", action="store_true")
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    make(args.folder) if args.step == "make" else run(args)


def make(folder):
    from safetensors.torch import save_file

    (folder / "config.json").write_text(json.dumps({"pretrained_cfg": PREPARED}))
    for name, variant in MODELS.items():
        torch.manual_seed(0)
        save_file(timm.create_model(variant).state_dict(), folder / f"{name}.safetensors")


class Photographs(torch.utils.data.Dataset):
    def __init__(self, folder):
        self.files = sorted(one for one in folder.rglob("*") if one.suffix.lower() in (".jpg", ".jpeg"))
        bicubic = transforms.InterpolationMode.BICUBIC
        self.prepare = transforms.Compose(
            [
                transforms.Resize(256, bicubic),
                transforms.CenterCrop(224),
                transforms.ToTensor(),
                transforms.Normalize(MEAN, STD),
            ]
        )

    def __len__(self):
        return len(self.files)

    def __getitem__(self, index):
        return self.prepare(Image.open(self.files[index]).convert("RGB"))


@torch.inference_mode()
def run(args):
    from safetensors.torch import load_file

    torch.set_num_threads(args.workers)
    model = timm.create_model(MODELS[args.model])
    model.load_state_dict(load_file(args.folder / f"{args.model}.safetensors"))
    model.reset_classifier(0)
    layout = torch.channels_last if args.channels_last else torch.contiguous_format
    model = model.eval().to(memory_format=layout)
    photographs = Photographs(args.images)
    loader = torch.utils.data.DataLoader(photographs, batch_size=64, num_workers=args.workers)
    start = time.perf_counter()
    rows = []
    for images in loader:
        with torch.autocast("cpu", torch.bfloat16, enabled=args.precision == "bf16"):
            rows.append(model(images.to(memory_format=layout)).float())
    features = torch.cat(rows)
    seconds = time.perf_counter() - start
    print(json.dumps({"seconds": seconds, "images_per_s": len(features) / seconds}))


if __name__ == "__main__":
    main()
