"""k → N scaling as independent 1 → L multicasts: one sub-group per source in use (paper.md c.3)."""

from itertools import islice


def split(num_nodes: int, num_sources: int) -> tuple[tuple[int, ...], ...]:
    """Return the sub-groups, source first; the first ones are larger by one node if N/k is not whole.

    Only min(k, N − k) sources are used; a spare source is idle and belongs to no sub-group.

    >>> split(num_nodes=7, num_sources=2)
    ((0, 2, 3, 4), (1, 5, 6))
    >>> split(num_nodes=4, num_sources=3)
    ((0, 3),)
    """
    num_destinations = num_nodes - num_sources
    num_groups = min(num_sources, num_destinations)
    share, larger = divmod(num_destinations, num_groups)
    destinations = iter(range(num_sources, num_nodes))
    return tuple(
        (source, *islice(destinations, share + (source < larger))) for source in range(num_groups)
    )
