"""What an image file contains, whether it exists or not.

Backed regions get the true bytes of a file that exists, and otherwise bytes that depend on the path and
the place in the file alone; sized regions get the name of that content.
"""

from pathlib import Path

import numpy as np
import xxhash

from lambdascale.errors import ConfigError, ModelError
from lambdascale.sim.mixing import mix
from lambdascale.sim.regions import SizedRegion, check_range, whole
from lambdascale.transport.base import Region

_WORD = 8
_PIECE = 1 << 22  # bytes made at a time


def put_image(image: Path, image_offset: int, region: Region, offset: int, nbytes: int) -> None:
    """Make a range of `region` contain a range of `image`; ModelError if the file is too short."""
    check_range(region, offset, nbytes)
    if image_offset < 0:
        raise ConfigError(f"image offset is {image_offset}; it must be at least 0")
    if not isinstance(region, SizedRegion) and image.is_file():
        _read(image, image_offset, region.view[offset : offset + nbytes])
    else:
        put_content(content_name(image), image_offset, region, offset, nbytes)


def put_content(content: int, start: int, region: Region, offset: int, nbytes: int) -> None:
    """Make a range of `region` contain bytes [start, start + nbytes) of a made-up content."""
    if isinstance(region, SizedRegion):
        region.put(offset, nbytes, whole(offset, nbytes, content, start))
        return
    for low in range(0, nbytes, _PIECE):
        size = min(_PIECE, nbytes - low)
        region.view[offset + low : offset + low + size] = _made_up(content, start + low, size)


def content_name(image: Path) -> int:
    """Return the 64-bit name of the content of the image at a path."""
    return xxhash.xxh3_64_intdigest(str(image).encode())


def _read(image: Path, image_offset: int, target: memoryview) -> None:
    with image.open("rb", buffering=0) as file:
        file.seek(image_offset)
        done = 0
        while done < len(target):
            count = file.readinto(target[done:])
            if not count:
                raise ModelError(f"image {image} ends at byte {image_offset + done}; pack it again")
            done += count


def _made_up(content: int, start: int, nbytes: int) -> memoryview:
    """Bytes [start, start + nbytes) of something that does not exist: word i is H(its name, i)."""
    first, last = start // _WORD, -(-(start + nbytes) // _WORD)
    words = mix(np.arange(first, last, dtype=np.uint64) + np.uint64(content))
    skipped = start - first * _WORD
    return words.view(np.uint8).data[skipped : skipped + nbytes]
