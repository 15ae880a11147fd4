"""timm's side of benchmarks/parity.py: `make FOLDER` writes images, weights and features; `compare FOLDER` judges
vertebra's features, FOLDER/NAME.npy, and prints one JSON object."""

import json
import sys
from pathlib import Path

import numpy as np
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

# vertebra's name and timm's.
MODELS = {
    "resnet50": "resnet50",
    "vit_small": "vit_small_patch16_224",
    "convnext_tiny": "convnext_tiny",
    "swin_tiny": "swin_tiny_patch4_window7_224",
}
# Width and height: as they are, to be made smaller, to be made larger, and odd.
SIZES = [(256, 256), (400, 300), (200, 240), (333, 517)] * 2
MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])


def main():
    step, folder = sys.argv[1], Path(sys.argv[2])
    {"make": make, "compare": compare}[step](folder)


def make(folder):
    generator = np.random.default_rng(0)
    (folder / "images").mkdir()
    prepared = []
    for i, size in enumerate(SIZES):
        image = picture(generator, *size)
        image.save(folder / "images" / f"{i}.png")
        prepared.append(prepare(image))
    batch = torch.stack(prepared)
    for seed, (name, variant) in enumerate(MODELS.items()):
        model = random_model(variant, seed, batch)
        save_file(model.state_dict(), folder / f"{name}.safetensors")
        np.save(folder / f"{name}-float32.npy", features(model, batch))
        np.save(folder / f"{name}-float64.npy", features(model.double(), batch.double()))


def compare(folder):
    """The largest difference from float64 as a share of the largest feature, of timm's and of vertebra's float32."""
    found = {}
    for name in MODELS:
        exact, timms = (np.load(folder / f"{name}-{kind}.npy") for kind in ("float64", "float32"))
        rows = [json.loads(line) for line in (folder / f"{name}.jsonl").read_text().splitlines()]
        # Rows are matched by name: the order of files is the program's own.
        order = [int(Path(row["name"]).stem) for row in rows]
        ours = np.empty_like(timms)
        ours[order] = np.load(folder / f"{name}.npy")
        off = {"timm": timms, "vertebra": ours}
        found[name] = {who: float(abs(one - exact).max() / abs(exact).max()) for who, one in off.items()}
        # Features that hardly depend on the image would agree whatever the network did.
        found[name]["spread"] = float(exact.std(0).mean() / abs(exact).max())
    print(json.dumps(found))


def picture(generator, width, height):
    """Noise at every scale, coarse stronger than fine, as in photographs."""
    total = np.zeros((height, width, 3))
    for octave in range(1, 8):
        noise = generator.normal(size=(2**octave, 2**octave, 3)) / 2 ** (octave / 2)
        for channel in range(3):
            plane = Image.fromarray(noise[..., channel].astype(np.float32))
            total[..., channel] += np.asarray(plane.resize((width, height), Image.Resampling.BICUBIC))
    return Image.fromarray(np.clip(128 + 50 * total, 0, 255).astype(np.uint8))


def prepare(image):
    """Short side to 256, the centred square of 224, normalised, as vertebra prepares images for ARCH=FILE."""
    short = min(image.size)
    width, height = (256 if side == short else int(256 * side / short) for side in image.size)
    image = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = round((width - 224) / 2), round((height - 224) / 2)
    pixels = torch.from_numpy(np.array(image.crop((left, top, left + 224, top + 224))))
    return ((pixels.float() / 255 - MEAN) / STD).permute(2, 0, 1)


def random_model(variant, seed, batch):
    """timm's network with random numbers everywhere, so that none of its own zeros and ones hides a missing term."""
    torch.manual_seed(seed)
    model = timm.create_model(variant, pretrained=False)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1:
                gain = name.endswith(("weight", "gamma"))
                parameter.copy_(float(gain) + 0.1 * torch.randn(parameter.shape))
            elif name.startswith("patch_embed") or "pos" in name or name == "cls_token":
                parameter.add_(0.1 * torch.randn(parameter.shape))
        # Running statistics that belong to the weights: without them a deep network grows without bound.
        for _ in range(8):
            model.train()(batch)
    return model.eval()


@torch.no_grad()
def features(model, batch):
    """What the classifier would read."""
    return model.forward_head(model.forward_features(batch), pre_logits=True).numpy()


if __name__ == "__main__":
    main()
