"""Storage: moves bytes of packed images between the tiers of one node (paper.md c.8, d.2).

Bodies: `files`; the simulated one lives in `sim`. Which copy goes where is decided above (`residency`).
"""

from pathlib import Path
from typing import Protocol

from lambdascale.transport.base import Region


class Storage(Protocol):
    """Moves ranges between image files and registered memory; several moves may run at once.

    A range that is written belongs to the storage until the call returns or raises, and nothing writes
    there afterwards; a range that is read must not change meanwhile. Moves of a kind share the rate of
    their tier. All raise ConfigError if a range does not lie inside its region, and ModelError once the
    storage is closed.
    """

    async def load(
        self, image: Path, image_offset: int, region: Region, offset: int, nbytes: int
    ) -> None:
        """Read bytes [image_offset, image_offset + nbytes) of `image` to `offset` of `region`.

        The bytes go straight into the region's memory. Raises ModelError if the image is missing or
        ends too early.
        """
        ...

    async def copy(
        self, source: Region, source_offset: int, target: Region, target_offset: int, nbytes: int
    ) -> None:
        """Copy between memory tiers, GPU and host; each direction between two regions has its own rate."""
        ...

    async def store(self, region: Region, offset: int, nbytes: int, image: Path) -> None:
        """Write a range as the whole of the file `image`, which appears at the end or not at all.

        Raises ModelError if it cannot be written.
        """
        ...

    def has(self, image: Path) -> bool:
        """Has a file `image` been stored, by this storage or an earlier one?"""
        ...

    async def close(self) -> None:
        """Release threads and descriptors; moves in flight fail first."""
        ...
