"""Unit conversions at the edges; inside the library everything is seconds, bytes and bytes/second."""

MIB = 1 << 20
BITS_PER_BYTE = 8


def gbps(gigabits_per_second: float) -> float:
    """Convert a link rate in Gbit/s to bytes/s.

    >>> gbps(1)
    125000000.0
    """
    return gigabits_per_second * 1e9 / BITS_PER_BYTE


def milliseconds(seconds: float) -> float:
    """Convert seconds to milliseconds."""
    return seconds * 1e3


def from_microseconds(microseconds: float) -> float:
    """Convert microseconds to seconds."""
    return microseconds * 1e-6


def from_megabytes(megabytes: float) -> float:
    """Convert MB (10⁶ bytes) to bytes."""
    return megabytes * 1e6


def microseconds(seconds: float) -> int:
    """Convert seconds to whole microseconds."""
    return round(seconds * 1e6)


def from_gigabytes(gigabytes: float) -> float:
    """Convert GB (10⁹ bytes) to bytes."""
    return gigabytes * 1e9


def gigabytes(nbytes: float) -> float:
    """Convert bytes to GB (10⁹ bytes)."""
    return nbytes / 1e9


def gigabits(rate: float) -> float:
    """Convert bytes/s to Gbit/s.

    >>> gigabits(125e6)
    1.0
    """
    return rate * 8 / 1e9
