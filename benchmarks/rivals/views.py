"""One rival's views of a folder of JPEGs or of CIFAR's binary files, timed; called by benchmarks/views.py.

Prints one JSON object with the field names of `vertebra bench views --json`. Time and processor time are taken between
two deliveries of batches, after every worker has delivered its first ones and before any of them stops: starting and
importing are not in them, collating and handing batches over are. Processor time is that of this process and of all its
children (Linux's /proc). Memory is the proportional set size of all of them, so that shared pages count once.
"""

import argparse
import json
import math
import os
import random
import time
from pathlib import Path

import numpy as np

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # it would ask the network for a newer version of itself
os.environ["RAYON_NUM_THREADS"] = "1"  # kornia-rs: a worker process is one thread already

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
RATIO = (3 / 4, 4 / 3)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("contender", choices=list(CONTENDERS))
    parser.add_argument("--data", type=Path, required=True, help="a folder of JPEGs, or of CIFAR-10's data_batch*.bin")
    parser.add_argument("--views", type=json.loads, required=True, help='as in [{"count": 2, "size": 224, ...}]')
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=10)
    args = parser.parse_args()
    views = [one for one in args.views for _ in range(one["count"])]
    figures = timed(CONTENDERS[args.contender](images_of(args.data), views, args), args)
    print(json.dumps(figures | {"views_per_s": figures["images_per_s"] * len(views)}))


def images_of(folder):
    """The paths of all JPEGs, or CIFAR's images as one array [N, 32, 32, 3]."""
    binary = sorted(folder.glob("data_batch*.bin"))
    if binary:
        rows = np.concatenate([np.fromfile(path, np.uint8).reshape(-1, 3073)[:, 1:] for path in binary])
        return np.ascontiguousarray(rows.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
    return sorted(str(path) for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))


# ---- measuring ------------------------------------------------------------------------------------------------------


def timed(batches, args):
    # The queue of a loader holds two batches per worker, and those are made while the workers start.
    for _ in range(2 * args.workers):
        shapes = [list(view.shape) for view in next(batches)]
    start, cpu, count = time.perf_counter(), cpu_seconds(), 0
    # Workers deliver in turn: after the same number of batches from each, none is half a batch ahead of another.
    while time.perf_counter() - start < args.seconds or count % args.workers:
        next(batches)
        count += 1
    elapsed, cpu = time.perf_counter() - start, cpu_seconds() - cpu
    memory = []
    for _ in range(2 * args.workers):
        next(batches)
        memory.append(memory_mb())
    images = count * args.batch
    return {
        "images_per_s": images / elapsed,
        "cpu_ms_per_image": 1000 * cpu / images,
        "peak_memory_mb": max(memory),
        "workers": args.workers,
        "images": images,
        "shapes": shapes,
    }


def cpu_seconds():
    """User and system time of this process and of its children, alive or gone."""
    ticks = sum(sum(map(int, fields[11:15])) for fields in family().values())
    return ticks / os.sysconf("SC_CLK_TCK")


def memory_mb():
    kilobytes = 0
    for pid in family():
        rows = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        kilobytes += sum(int(row.split()[1]) for row in rows if row.startswith("Pss:"))
    return kilobytes * 1024 / 1e6


def family():
    """The fields of /proc/PID/stat after the name, of this process and all its descendants."""
    stats = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            stats[int(path.parent.name)] = path.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            pass  # gone since it was listed
    own = {os.getpid()}
    while more := {pid for pid, fields in stats.items() if int(fields[1]) in own} - own:
        own |= more
    return {pid: stats[pid] for pid in own}


# ---- PyTorch's loader -----------------------------------------------------------------------------------------------


class Views:
    """A map-style data set: an image is decoded once and transformed once per view."""

    def __init__(self, images, decode, transforms):
        self.images, self.decode, self.transforms = images, decode, transforms

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        image = self.decode(self.images[index])
        return [transform(image) for transform in self.transforms]


class Shuffled:
    """Endless batches of indices; each image comes once before any comes again."""

    def __init__(self, count, batch):
        self.count, self.batch = count, batch

    def __iter__(self):
        waiting = []
        while True:
            while len(waiting) < self.batch:
                waiting += random.sample(range(self.count), self.count)
            yield [waiting.pop() for _ in range(self.batch)]


def loaded(images, decode, transforms, args):
    """Batches of PyTorch's DataLoader; it gives each worker process one thread itself."""
    from torch.utils.data import DataLoader

    batches = DataLoader(
        Views(images, decode, transforms),
        batch_sampler=Shuffled(len(images), args.batch),
        num_workers=args.workers,
        worker_init_fn=one_thread,
        persistent_workers=True,
    )
    return iter(batches)


def one_thread(_worker):
    try:
        import cv2
    except ImportError:
        return
    cv2.setNumThreads(0)


def odd_kernel(size):
    """A tenth of the view, odd: SimCLR's kernel, 23 pixels at 224."""
    return size // 10 // 2 * 2 + 1


# ---- rivals ---------------------------------------------------------------------------------------------------------


def torchvision_pil(images, views, args):
    from PIL import Image, ImageFilter
    from torchvision import transforms as tv

    def decode(image):
        return Image.open(image).convert("RGB") if isinstance(image, str) else Image.fromarray(image)

    def blur(image):
        return image.filter(ImageFilter.GaussianBlur(random.uniform(0.1, 2.0)))

    def transform(view):
        bicubic = tv.InterpolationMode.BICUBIC
        return tv.Compose([
            tv.RandomResizedCrop(view["size"], view["scale"], RATIO, interpolation=bicubic),
            tv.RandomHorizontalFlip(0.5),
            tv.RandomApply([tv.ColorJitter(0.4, 0.4, 0.2, 0.1)], 0.8),
            tv.RandomGrayscale(0.2),
            tv.RandomApply([tv.Lambda(blur)], 0.5),
            tv.RandomSolarize(128, 0.1),
            tv.ToTensor(),
            tv.Normalize(MEAN, STD),
        ])

    return loaded(images, decode, list(map(transform, views)), args)


def torchvision_tensors(images, views, args):
    import torch
    from torchvision.io import ImageReadMode, decode_jpeg, read_file
    from torchvision.transforms import InterpolationMode, v2

    def decode(image):
        if isinstance(image, str):
            return decode_jpeg(read_file(image), mode=ImageReadMode.RGB)
        return torch.from_numpy(image).permute(2, 0, 1)

    def transform(view):
        bicubic, kernel = InterpolationMode.BICUBIC, odd_kernel(view["size"])
        return v2.Compose([
            v2.RandomResizedCrop(view["size"], view["scale"], RATIO, interpolation=bicubic, antialias=True),
            v2.RandomHorizontalFlip(0.5),
            v2.RandomApply([v2.ColorJitter(0.4, 0.4, 0.2, 0.1)], 0.8),
            v2.RandomGrayscale(0.2),
            v2.RandomApply([v2.GaussianBlur(kernel, (0.1, 2.0))], 0.5),
            v2.RandomSolarize(128, 0.1),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(MEAN, STD),
        ])

    return loaded(images, decode, list(map(transform, views)), args)


def albumentations(images, views, args):
    import albumentations as A
    import cv2
    from albumentations.pytorch import ToTensorV2

    def transform(view):
        size = (view["size"], view["size"])
        policy = A.Compose([
            A.RandomResizedCrop(size, view["scale"], RATIO, interpolation=cv2.INTER_CUBIC, p=1),
            A.HorizontalFlip(p=0.5),
            A.ColorJitter(0.4, 0.4, 0.2, 0.1, p=0.8),
            A.ToGray(p=0.2),
            A.GaussianBlur(blur_limit=0, sigma_limit=(0.1, 2.0), p=0.5),
            A.Solarize(threshold_range=(0.5, 0.5), p=0.1),
            A.Normalize(MEAN, STD),
            ToTensorV2(),
        ])
        return lambda image: policy(image=image)["image"]

    return loaded(images, simplejpeg_decode, list(map(transform, views)), args)


def simplejpeg_decode(image):
    import simplejpeg

    return simplejpeg.decode_jpeg(Path(image).read_bytes(), "RGB") if isinstance(image, str) else image


def kornia_rs(images, views, args):
    import torch
    from kornia_rs import augmentations, imgproc, io as kornia_io
    from kornia_rs.image import Image

    jitter = augmentations.ColorJitter(0.4, 0.4, 0.2, 0.1)

    def decode(image):
        return kornia_io.decode_image_jpegturbo(Path(image).read_bytes(), "rgb") if isinstance(image, str) else image

    def transform(view):
        size = view["size"]

        def apply(image):
            top, left, height, width = random_crop(*image.shape[:2], view["scale"])
            crop = np.ascontiguousarray(image[top : top + height, left : left + width])
            image = imgproc.resize(crop, (size, size), "bicubic", antialias=True)
            if random.random() < 0.5:
                image = imgproc.horizontal_flip(image)
            if random.random() < 0.8:
                image = jitter(Image.fromarray(image)).numpy()
            if random.random() < 0.2:
                image = imgproc.rgb_from_gray(imgproc.gray_from_rgb(image))
            if random.random() < 0.5:
                sigma = random.uniform(0.1, 2.0)
                side = 2 * math.ceil(3 * sigma) + 1
                image = imgproc.gaussian_blur(image, (side, side), (sigma, sigma))
            if random.random() < 0.1:
                image = np.minimum(image, 255 - image)
            planes = torch.from_numpy(np.asarray(image)).permute(2, 0, 1).contiguous().float()
            return planes.mul_(scale).sub_(shift)

        return apply

    scale = torch.tensor([1 / (255 * std) for std in STD]).view(3, 1, 1)
    shift = torch.tensor([mean / std for mean, std in zip(MEAN, STD)]).view(3, 1, 1)
    return loaded(images, decode, list(map(transform, views)), args)


def random_crop(height, width, scale):
    """Top, left, height and width: ten tries, then the whole image."""
    for _ in range(10):
        area = height * width * random.uniform(*scale)
        ratio = math.exp(random.uniform(*map(math.log, RATIO)))
        h, w = round(math.sqrt(area / ratio)), round(math.sqrt(area * ratio))
        if 0 < h <= height and 0 < w <= width:
            return random.randint(0, height - h), random.randint(0, width - w), h, w
    return 0, 0, height, width


def dali(images, views, args):
    """Brightness to hue and grey are one colour matrix per image: fewer passes."""
    from nvidia.dali import fn, math as dali_math, pipeline_def, types

    chance, between = fn.random.coin_flip, fn.random.uniform

    def view_of(image, view):
        size, inverted = view["size"], types.Constant(255).uint8()
        image = fn.random_resized_crop(
            image,
            size=size,
            random_area=view["scale"],
            random_aspect_ratio=RATIO,
            interp_type=types.INTERP_CUBIC,
            antialias=True,
        )
        jittered, coloured = chance(probability=0.8), chance(probability=0.8)
        image = fn.color_twist(
            image,
            brightness=1 + jittered * between(range=(-0.4, 0.4)),
            contrast=1 + jittered * between(range=(-0.4, 0.4)),
            saturation=coloured * (1 + jittered * between(range=(-0.2, 0.2))),
            hue=jittered * between(range=(-36.0, 36.0)),
        )
        if chance(probability=0.5, dtype=types.BOOL):
            image = fn.gaussian_blur(image, sigma=between(range=(0.1, 2.0)))
        if chance(probability=0.1, dtype=types.BOOL):
            image = dali_math.min(image, inverted - image)
        mean, std = ([255 * value for value in values] for values in (MEAN, STD))
        planes = {"dtype": types.FLOAT, "output_layout": "CHW"}
        return fn.crop_mirror_normalize(image, mirror=chance(probability=0.5), mean=mean, std=std, **planes)

    @pipeline_def(
        batch_size=args.batch,
        num_threads=args.workers,
        device_id=None,  # the processor alone
        enable_conditionals=True,
        seed=random.getrandbits(31),
    )
    def pipeline():
        if isinstance(images, np.ndarray):
            batches = iter(Shuffled(len(images), args.batch))
            image = fn.external_source(lambda: [images[i] for i in next(batches)], batch=True, layout="HWC")
        else:
            encoded, _ = fn.readers.file(files=images, random_shuffle=True)
            image = fn.decoders.image(encoded, output_type=types.RGB)
        return tuple(view_of(image, view) for view in views)

    built = pipeline()
    built.build()
    while True:
        yield [np.asarray(view.as_tensor()) for view in built.run()]


def decode_alone(images, _views, args):
    """What decoding costs in the same loader: a view of one number."""
    return loaded(images, lambda image: simplejpeg_decode(image)[0, 0, :1], [np.asarray], args)


CONTENDERS = {
    "torchvision-pil": torchvision_pil,
    "torchvision-tensors": torchvision_tensors,
    "albumentations": albumentations,
    "kornia-rs": kornia_rs,
    "dali": dali,
    "simplejpeg-decode": decode_alone,
}

if __name__ == "__main__":
    main()
