"""Checks one wheel against its sha256 and unpacks what building and running need of it.

usage: unpack.py WHEEL SHA256 TARGET cpu|cuda
"""

import fnmatch
import hashlib
import os
import sys
import zipfile

ALWAYS = [
    "torch/include/*",
    "torch/lib/libtorch.so",
    "torch/lib/libtorch_cpu.so",
    "torch/lib/libc10.so",
    "torch/lib/libgomp.so.1",
    "nvidia/*/lib/*.so*",
    "*.dist-info/*LICENSE*",
    "*.dist-info/*License*",
    "*.dist-info/*NOTICE*",
]
CUDA = [
    "torch/lib/libtorch_cuda.so",
    "torch/lib/libtorch_cuda_linalg.so",
    "torch/lib/libc10_cuda.so",
    "torch/lib/libtorch_nvshmem.so",
    "torch/lib/libcaffe2_nvrtc.so",
]


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def main(wheel, expected, target, flavour):
    found = sha256(wheel)
    if found != expected:
        os.remove(wheel)
        sys.exit(f"checksum mismatch: {wheel} has sha256 {found}, expected {expected}; it is deleted")
    patterns = ALWAYS + (CUDA if flavour == "cuda" else [])
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns):
                path = archive.extract(name, target)
                if ".so" in os.path.basename(path):
                    os.chmod(path, 0o755)


try:
    main(*sys.argv[1:])
except (OSError, zipfile.BadZipFile) as error:
    sys.exit(f"cannot unpack {sys.argv[1]}: {error}")
