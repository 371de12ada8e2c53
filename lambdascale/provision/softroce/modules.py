"""Kernel modules of an unpacked kernel package, in the order in which they can be loaded one by one.

What a module depends on is read from its ELF section `.modinfo`, so neither kmod nor depmod is needed.
"""

import lzma
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

from lambdascale.errors import ConfigError

SECTIONS_AT = 0x28  # e_shoff of a 64-bit ELF header
COUNTS_AT = 0x3A  # e_shentsize, e_shnum, e_shstrndx
SECTION = struct.Struct("<IIQQQQIIQQ")


def modinfo(image: bytes) -> dict[str, str]:
    """Return the key=value pairs of `.modinfo` of a module, empty if it has none."""
    for name, offset, size in _sections(image):
        if name == b".modinfo":
            pairs = image[offset : offset + size].decode("utf-8", "replace").split("\0")
            return dict(pair.split("=", 1) for pair in pairs if "=" in pair)
    return {}


def load_order(folder: Path, names: Sequence[str]) -> dict[str, bytes]:
    """Return the images of the modules `names` and of all they depend on, dependencies first.

    `folder` is that of one kernel version, with `kernel/` and `modules.builtin`; what is built in is left
    out. Raises ConfigError if a module is neither there nor built in.
    """
    paths = {_name(path.name): path for path in sorted(folder.glob("kernel/**/*.ko*"))}
    builtin = (folder / "modules.builtin").read_text(encoding="utf-8").split()
    done = {_name(Path(line).name) for line in builtin}
    ordered: dict[str, bytes] = {}

    def visit(name: str) -> None:
        if name in done:
            return
        done.add(name)
        if name not in paths:
            raise ConfigError(f"{folder.name} has no module {name}; use linux-image-amd64")
        image = _image(paths[name])
        for needed in filter(None, modinfo(image).get("depends", "").split(",")):
            visit(_name(needed))
        ordered[name] = image

    for name in names:
        visit(_name(name))
    return ordered


def _sections(image: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield name, offset and size of every section."""
    (start,) = struct.unpack_from("<Q", image, SECTIONS_AT)
    size, count, names = struct.unpack_from("<HHH", image, COUNTS_AT)
    headers = [SECTION.unpack_from(image, start + size * n) for n in range(count)]
    for header in headers:
        begin = headers[names][4] + header[0]
        yield image[begin : image.index(b"\0", begin)], header[4], header[5]


def _name(file: str) -> str:
    """`crc32-generic.ko.xz` → `crc32_generic`."""
    return file.split(".ko")[0].replace("-", "_")


def _image(path: Path) -> bytes:
    data = path.read_bytes()
    return lzma.decompress(data) if path.suffix == ".xz" else data
