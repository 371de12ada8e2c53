"""Storage: moves bytes of a packed image from a slower tier into registered memory (paper.md c.8).

Bodies: `files`; the simulated one lives in `sim`. Which tier to read from is decided above.
"""

from pathlib import Path
from typing import Protocol

from lambdascale.transport.base import Region


class Storage(Protocol):
    """Loads ranges of image files; several loads may run at once."""

    async def load(
        self, image: Path, image_offset: int, region: Region, offset: int, nbytes: int
    ) -> None:
        """Read bytes [image_offset, image_offset + nbytes) of `image` to `offset` of `region`.

        The bytes go straight into the region's memory; the range belongs to the storage until this
        returns or raises, and nothing writes there afterwards. Raises ModelError if the image is
        missing or ends too early, ConfigError if the range does not lie inside the region.
        """
        ...

    async def close(self) -> None:
        """Release threads and descriptors; loads in flight fail first."""
        ...
