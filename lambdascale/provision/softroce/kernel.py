"""Debian's stock kernel and its initramfs, unpacked once into a cache folder.

The cloud kernel has no rdma_rxe, so it is `linux-image-amd64`. Booting the bare ELF image (PVH) instead of
the compressed one saves the firmware and the decompression, half of the time to boot under emulation.
"""

import hashlib
import lzma
import struct
import tempfile
from dataclasses import dataclass
from pathlib import Path

from lambdascale.model.cache import published
from lambdascale.provision.softroce import initramfs, modules, packages

METAPACKAGE = "linux-image-amd64"
BUSYBOX = Path("/bin/busybox")
SETUP_SECTORS_AT = (
    0x1F1  # of the boot protocol: where the compressed image begins, and how long it is
)
PAYLOAD_AT = 0x248
SECTOR = 512


@dataclass(frozen=True, slots=True)
class Kernel:
    """What qemu boots."""

    image: Path
    initramfs: Path


def prepare(cache: Path) -> Kernel:
    """Return the kernel in `cache`, downloaded first if it is not there."""
    recipe = (initramfs.INIT, initramfs.BOOT_MODULES, initramfs.DEVICE_MODULES)
    folder = cache / f"linux-{hashlib.sha256(repr(recipe).encode()).hexdigest()[:8]}"
    if not folder.exists():
        package = packages.depends(METAPACKAGE)
        print(f"downloading {package} into {cache}", flush=True)
        with published(folder) as scratch:
            _unpack(package, scratch)
    return Kernel(folder / "vmlinux", folder / "initramfs")


def _unpack(package: str, target: Path) -> None:
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        tree = Path(scratch) / "tree"
        packages.download(package, tree)
        (compressed,) = tree.glob("boot/vmlinuz-*")
        (folder,) = (*tree.glob("lib/modules/*"), *tree.glob("usr/lib/modules/*"))
        (target / "vmlinux").write_bytes(bare(compressed.read_bytes()))
        (target / "initramfs").write_bytes(_initramfs(folder))


def _initramfs(folder: Path) -> bytes:
    boot = modules.load_order(folder, initramfs.BOOT_MODULES)
    devices = modules.load_order(folder, initramfs.DEVICE_MODULES)
    fresh = {name: image for name, image in devices.items() if name not in boot}
    return initramfs.archive([*initramfs.contents(BUSYBOX.read_bytes(), boot, fresh)])


def bare(image: bytes) -> bytes:
    """Return the ELF image within a kernel that xz compressed; any other as it is, which boots too."""
    offset, length = struct.unpack_from("<II", image, PAYLOAD_AT)
    start = ((image[SETUP_SECTORS_AT] or 4) + 1) * SECTOR + offset
    payload = image[start : start + length]
    xz = payload.startswith(b"\xfd7zXZ\0")
    return lzma.LZMADecompressor().decompress(payload) if xz else image
