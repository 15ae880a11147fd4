"""Exported encoders against timm, torch and onnxruntime: the same features from the same images?

    vertebra weights export RUN --out DIR
    vertebra weights export RUN --out DIR --format torchscript
    vertebra embed RUN IMAGES --out features.npy --precision fp32
    python benchmarks/export.py DIR IMAGES features.npy [--onnx model.onnx]

Opens DIR with `timm.create_model("local-dir:DIR")`, prepares every image that `features.npy` has a row for as DIR's
config.json says (timm's own transform, Pillow's resize), and prints the largest difference of each program's features from
vertebra's, as a share of the largest feature. `--onnx` writes the timm model as ONNX and runs it too: that is the way from
vertebra to ONNX. It needs torch, timm, Pillow and numpy, and for `--onnx` onnx and onnxruntime.
"""

import argparse
import json
from pathlib import Path

import numpy
import timm
import torch
from PIL import Image


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("images", type=Path)
    parser.add_argument("features", type=Path)
    parser.add_argument("--onnx", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)

    model = timm.create_model(f"local-dir:{arguments.folder}", pretrained=True).eval()
    data = timm.data.resolve_data_config({}, model=model)
    transform = timm.data.create_transform(**data)
    rows = [json.loads(line) for line in arguments.features.with_suffix(".jsonl").read_text().splitlines()]
    opened = [Image.open(arguments.images / row["name"]).convert("RGB") for row in rows]
    images = torch.stack([transform(image) for image in opened])
    ours = numpy.load(arguments.features)
    print(f"{model.default_cfg['architecture']}: {len(images)} images, {ours.shape[1]} features, {data}")

    with torch.inference_mode():
        show("timm", model(images), ours)
        traced = arguments.folder / "model.pt"
        if traced.exists():
            module = torch.jit.load(traced)
            show("TorchScript", module(images), ours)
            exact = (module(images) - model(images)).abs().max() / numpy.abs(ours).max()
            print(f"{'TorchScript and timm':>20}: {exact:.1e}")
    if arguments.onnx:
        import onnxruntime

        axes = {"images": {0: "n"}, "features": {0: "n"}}
        names = {"input_names": ["images"], "output_names": ["features"], "dynamic_axes": axes}
        torch.onnx.export(model, (images[:2],), arguments.onnx, dynamo=False, **names)
        session = onnxruntime.InferenceSession(arguments.onnx)
        show("onnxruntime", session.run(None, {"images": images.numpy()})[0], ours)


def show(program, theirs, ours):
    theirs = numpy.asarray(theirs)
    print(f"{program:>20}: {numpy.abs(theirs - ours).max() / numpy.abs(ours).max():.1e}")


if __name__ == "__main__":
    main()
