"""VICReg with lightly's public parts on a folder of images; called by benchmarks/pretrain.py.

The parts are those of lightly's own VICReg example: torchvision's ResNet-18, VICRegTransform, VICRegProjectionHead with
two layers of 2048, VICRegLoss, SGD, a shuffling DataLoader that drops a short last batch. Prints a JSON line when
everything is built and another when the last step is done; the caller takes the time of both.
"""

import argparse
import contextlib
import json

import torch
import torchvision
from lightly.data import LightlyDataset
from lightly.loss import VICRegLoss
from lightly.models.modules.heads import VICRegProjectionHead
from lightly.transforms import VICRegTransform
from torch import nn


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--width", type=int, default=2048)
    parser.add_argument("--rate", type=float, default=0.06)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--tuned", action="store_true", help="persistent workers, channels-last")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    args = parser.parse_args()

    dataset = LightlyDataset(args.data, transform=VICRegTransform(input_size=args.size))
    loader = torch.utils.data.DataLoader(
        dataset,
        batch_size=args.batch,
        shuffle=True,
        drop_last=True,
        num_workers=args.workers,
        persistent_workers=args.tuned,
    )
    memory_format = torch.channels_last if args.tuned else torch.contiguous_format
    model = network(args.width).to(memory_format=memory_format).train()
    criterion = VICRegLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=args.rate)
    bf16 = args.precision == "bf16"
    print(json.dumps({"begin": {"images": len(dataset), "precision": args.precision}}), flush=True)
    loss, steps = None, 0
    for _ in range(args.epochs):
        for batch in loader:
            views = [view.to(memory_format=memory_format) for view in batch[0]]
            with torch.autocast("cpu", torch.bfloat16) if bf16 else contextlib.nullcontext():
                za, zb = (model(view) for view in views)
            loss = criterion(za.float(), zb.float())
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            steps += 1
    print(json.dumps({"end": {"steps": steps, "loss": loss.item()}}), flush=True)


def network(width):
    backbone = torchvision.models.resnet18()
    backbone.fc = nn.Identity()
    return nn.Sequential(backbone, VICRegProjectionHead(512, width, width, num_layers=2))


if __name__ == "__main__":
    main()
