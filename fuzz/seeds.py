"""Write the small valid files in seeds/ that the fuzz targets start from. Needs Pillow and numpy.

The files are committed; this says how they came about.

    python fuzz/seeds.py
"""

import gzip
import io
import json
import struct
import tarfile
import zlib
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
    tars()
    tables()
    annotations()
    flows()
    for path in (SEEDS.parent.parent / "fixtures").glob("*.parquet"):
        put("parquet", path.name, path.read_bytes())
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


def tars():
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as shard:
        long = "a-folder/" * 13 + "café"
        for name, content in (
            ("a.jpg", b"\xff\xd8\xff"), ("a.cls", b"3"), ("a.json", b'{"caption": "a bird", "label": 3}'),
            ("b/c.png", b"\x89PNG"), ("b/c.txt", "a dog, élan".encode()), (f"{long}.jpg", b"\xff\xd8"),
        ):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            shard.addfile(entry, io.BytesIO(content))
    # One block of zeros ends it; tarfile fills up to twenty.
    packed = stream.getvalue().rstrip(b"\0")
    packed += b"\0" * (-len(packed) % 512)
    put("tar", "shard.tar", packed + b"\0" * 512)
    put("tar", "cut-short.tar", packed[:-700])
    row = {"name": "a", "image": [512, 3], "label": "3", "caption": [0, 4], "group": 7}
    index = {"vertebra_tar_index": 1, "tar_bytes": 0, "tar_modified_ns": 0, "classes": ["a", "b"], "samples": [row]}
    # An index names the length of its shard, and here the index is the shard: room for the digits, then the length.
    text = json.dumps(index).ljust(400)
    put("tar", "index.json", text.replace('"tar_bytes": 0', '"tar_bytes": 400').encode()[:400])


def tables():
    csv = 'path,label,caption,group,split\na.jpg,cat,"a cat, ""asleep""",1,train\nb/c.png,dog,,2,test\n'
    put("table", "plain.csv", csv.encode())
    put("table", "tabs.csv", csv.replace(",", "\t").encode())
    put("table", "marked.csv", b"\xef\xbb\xbf" + csv.replace("\n", "\r\n").encode())
    rows = [{"path": "a.jpg", "label": 3, "caption": ["a cat", "asleep"], "group": "x"}]
    rows.append({"path": "b.jpg", "label": "é"})
    put("table", "rows.jsonl", "\n".join(map(json.dumps, rows)).encode())


def annotations():
    box = {"id": 1, "image_id": 1, "category_id": 18, "bbox": [1.5, 1, 4, 3], "area": 12.0, "iscrowd": 0}
    runs = {"size": [6, 8], "counts": [9, 3, 3, 3, 30]}
    outlines = [[1, 1, 5.5, 1, 5, 4, 1, 4]], runs, runs | {"counts": "9330"}
    coco = {
        "images": [{"id": 1, "file_name": "a.jpg", "width": 8, "height": 6}],
        "categories": [{"id": 18, "name": "dog", "supercategory": "animal"}],
        "annotations": [box | {"id": i, "segmentation": outline} for i, outline in enumerate(outlines)],
    }
    put("coco", "objects.json", json.dumps(coco).encode())
    captions = coco | {"annotations": [{"id": 1, "image_id": 1, "caption": "a dog"}]}
    del captions["categories"]
    put("coco", "captions.json", json.dumps(captions).encode())
    box = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>4.5</xmax><ymax>3</ymax></bndbox>"
    put("voc", "annotation.xml", (
        "<?xml version='1.0'?><annotation><!-- by hand --><filename>a.jpg</filename><size><width>8</width>"
        "<height>6</height><depth>3</depth></size><object><name>dog &amp; cat</name><difficult>1</difficult>"
        f"{box}<part><name>head</name>{box}</part></object></annotation>"
    ).encode())
    save("voc", "mask.png", picture(8, 6, "P"), "PNG")
    save("voc", "mask-4-bits.png", picture(8, 6, "P").quantize(9), "PNG", bits=4)


def flows():
    vectors = np.arange(12, dtype="<f4").reshape(2, 3, 2) / 3
    vectors[0, 0, 0] = 2e9
    put("flow", "field.flo", b"PIEH" + struct.pack("<ii", 3, 2) + vectors.tobytes())
    planes = np.concatenate([vectors, np.zeros((2, 3, 1), "<f4")], axis=2)
    put("flow", "field.pfm", b"PF\n3 2\n-1.0\n" + planes.tobytes())
    put("flow", "motorola.pfm", b"PF\n3 2\n1.0\n" + planes.astype(">f4").tobytes())
    samples = np.array([[[32768 + 64 * x, 32768 - 64 * y, (x + y) % 2] for x in range(3)] for y in range(2)], ">u2")
    put("flow", "kitti.png", deep_png(samples))


def deep_png(samples):
    """Three channels of 16 bits, which Pillow does not write."""
    height, width, _ = samples.shape
    chunks = {b"IHDR": struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)}
    chunks |= {b"IDAT": zlib.compress(b"".join(b"\0" + row.tobytes() for row in samples)), b"IEND": b""}
    parts = [struct.pack(">I", len(v)) + k + v + struct.pack(">I", zlib.crc32(k + v)) for k, v in chunks.items()]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


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
