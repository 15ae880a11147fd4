"""Write the small valid files in seeds/ that the fuzz targets start from. Needs Pillow and numpy; the files are committed.

    python fuzz/seeds.py
"""

import gzip
import io
import struct
from pathlib import Path

import numpy as np
from PIL import Image

SEEDS = Path(__file__).resolve().parent / "seeds"
RNG = np.random.default_rng(0)


def main():
    jpegs()
    pngs()
    webps()
    tiffs()
    others()
    arrays()
    print(sum(path.stat().st_size for path in SEEDS.rglob("*") if path.is_file()), "bytes")


def picture(width=19, height=13, mode="RGB"):
    """A gradient with some noise, so that every coefficient is used."""
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    planes = np.stack([9 * x, 11 * y, 5 * (x + y)], axis=-1) + RNG.integers(0, 40, (height, width, 3))
    return Image.fromarray(planes.clip(0, 255).astype(np.uint8)).convert(mode)


def jpegs():
    for name, sampling in (("444", 0), ("422", 1), ("420", 2)):
        save("jpeg", f"{name}.jpg", picture(), "JPEG", quality=70, subsampling=sampling)
        save("jpeg", f"{name}-progressive.jpg", picture(), "JPEG", quality=70, subsampling=sampling, progressive=True)
    save("jpeg", "grey.jpg", picture(mode="L"), "JPEG", quality=70)
    save("jpeg", "grey-progressive.jpg", picture(mode="L"), "JPEG", quality=70, progressive=True)
    save("jpeg", "cmyk.jpg", picture(mode="CMYK"), "JPEG", quality=70)
    save("jpeg", "optimised.jpg", picture(33, 17), "JPEG", quality=50, optimize=True)
    save("jpeg", "restart.jpg", picture(40, 24), "JPEG", quality=50, restart_marker_blocks=2)
    turned = Image.Exif()
    turned[0x0112] = 6
    save("jpeg", "turned.jpg", picture(), "JPEG", quality=50, exif=turned)


def pngs():
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA"):
        save("png", f"{mode}.png", picture(mode=mode), "PNG")
    wide = Image.fromarray(RNG.integers(0, 65536, (7, 5), dtype=np.uint16))
    save("png", "wide.png", wide, "PNG")
    palette = picture(mode="P")
    save("png", "transparent.png", palette, "PNG", transparency=3)


def webps():
    save("webp", "lossy.webp", picture(), "WEBP", quality=60)
    save("webp", "lossless.webp", picture(), "WEBP", lossless=True)
    save("webp", "alpha.webp", picture(mode="RGBA"), "WEBP", quality=60)
    frames = [picture() for _ in range(2)]
    save("webp", "moving.webp", frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True)


def tiffs():
    for compression in ("raw", "packbits", "tiff_lzw", "tiff_adobe_deflate"):
        save("tiff", f"{compression}.tif", picture(), "TIFF", compression=compression)
    for mode in ("1", "L", "LA", "P", "RGBA", "CMYK"):
        save("tiff", f"{mode}.tif", picture(mode=mode), "TIFF")
    for kind in (np.uint16, np.int32, np.float32):
        samples = RNG.integers(0, 30000, (7, 5)).astype(kind)
        save("tiff", f"{np.dtype(kind).name}.tif", Image.fromarray(samples), "TIFF")
    save("tiff", "fax.tif", picture(mode="1"), "TIFF", compression="group4")
    save("tiff", "jpeg.tif", picture(), "TIFF", compression="jpeg")
    frames = [picture() for _ in range(2)]
    save("tiff", "pages.tif", frames[0], "TIFF", save_all=True, append_images=frames[1:])
    for name, big, order in (("planes", False, "<"), ("planes-motorola", False, ">"), ("large-offsets", True, "<")):
        (SEEDS / "tiff" / f"{name}.tif").write_bytes(planar(5, big, order))


def planar(planes, big, order):
    """An uncompressed TIFF of 6 by 4 pixels whose planes lie one after the other: what microscopes write."""
    width, height = 6, 4
    entries = [
        (256, width), (257, height), (258, [8] * planes), (259, 1), (262, 1), (273, None), (277, planes),
        (278, height), (279, [width * height] * planes), (284, 2),
    ]
    word, count_form, header = ("Q", "Q", 16) if big else ("I", "H", 8)
    inline = 8 if big else 4
    directory = struct.calcsize("<" + count_form) + len(entries) * (4 + 2 * struct.calcsize("<" + word)) + inline
    arrays, body = b"", b""
    pixels_at = header + directory + planes * 2 + 2 * planes * 4
    for tag, value in entries:
        values = [pixels_at + i * width * height for i in range(planes)] if tag == 273 else value
        values = values if isinstance(values, list) else [values]
        kind, form = (4, "I") if tag in (273, 279) else (3, "H")
        data = struct.pack(f"{order}{len(values)}{form}", *values)
        if len(data) > inline:
            field = struct.pack(f"{order}{word}", header + directory + len(arrays))
            arrays += data
        else:
            field = data.ljust(inline, b"\0")
        body += struct.pack(f"{order}HH{word}", tag, kind, len(values)) + field
    mark = {"<": b"II", ">": b"MM"}[order]
    version = struct.pack(f"{order}HHHQ", 43, 8, 0, header) if big else struct.pack(f"{order}HI", 42, header)
    head = mark + version + struct.pack(f"{order}{count_form}", len(entries)) + body + b"\0" * inline
    pixels = bytes(range(planes * width * height))
    return (head + arrays).ljust(pixels_at, b"\0") + pixels


def others():
    for mode in ("1", "L", "P", "RGB"):
        save("other", f"{mode}.bmp", picture(mode=mode), "BMP")
    frames = [picture(mode="P") for _ in range(2)]
    save("other", "still.gif", frames[0], "GIF")
    save("other", "moving.gif", frames[0], "GIF", save_all=True, append_images=frames[1:], transparency=0)
    for mode, ending in (("1", "pbm"), ("L", "pgm"), ("RGB", "ppm")):
        save("other", f"packed.{ending}", picture(mode=mode), "PPM")
    (SEEDS / "other" / "text.ppm").write_bytes(b"P3\n# a comment\n2 2 255\n1 2 3  4 5 6\n7 8 9  255 0 9\n")
    (SEEDS / "other" / "text.pbm").write_bytes(b"P1 3 2\n101\n0 1 0\n")
    (SEEDS / "other" / "deep.pgm").write_bytes(b"P5 2 2 1023 " + bytes(range(8)))


def arrays():
    images = struct.pack(">IIII", 0x0803, 2, 2, 3) + bytes(range(12))
    labels = struct.pack(">II", 0x0801, 2) + bytes([4, 1])
    put("idx", "images", images)
    put("idx", "labelled", images + b"labels:" + labels)
    put("idx", "packed", gzip.compress(images, mtime=0) + b"labels:" + gzip.compress(labels, mtime=0))
    put("cifar", "ten", b"\0" + bytes([3]))
    put("cifar", "hundred", b"\1" + bytes([3, 77, 9]))
    put("cifar", "cut-short", b"\2" + bytes([3, 1, 2]))
    put("cifar", "whole", b"\2" + bytes([9]) + bytes(3072))


def save(target, name, image, form, **options):
    stream = io.BytesIO()
    image.save(stream, form, **options)
    put(target, name, stream.getvalue())


def put(target, name, content):
    path = SEEDS / target / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


if __name__ == "__main__":
    main()
