"""Which nodes are kept for a model that spans several: smaller instances in their way move elsewhere.

Instances lie at multiples of their span, so as many free nodes as a model needs may be of no use to it. Pure.
"""

from collections.abc import Mapping, Sequence


def gather(
    wanting: Sequence[str], spans: Mapping[str, int], assigned: Mapping[int, str | None]
) -> dict[int, str]:
    """Return which nodes are kept for which of the `wanting` models, one instance each, widest first.

    `assigned` says who has each node now. Taken are the nodes of which fewest must move, and never those of
    an instance as wide as the one that wants them.

    >>> gather(["big"], {"big": 2, "small": 1}, {0: "small", 1: None, 2: "small", 3: "small"})
    {0: 'big', 1: 'big'}
    """
    kept: dict[int, str] = {}
    for model in sorted(wanting, key=lambda m: -spans[m]):
        span = spans[model]
        starts = range(0, max(assigned, default=0) - span + 2, span)
        places = [range(i, i + span) for i in starts]
        places = [place for place in places if all(node in assigned for node in place)]
        owners = {place: [assigned[node] for node in place] for place in places}
        able = [
            place
            for place in places
            if not any(node in kept for node in place)
            and all(owner is None or spans[owner] < span for owner in owners[place])
        ]
        if able:
            best = max(able, key=lambda place: (owners[place].count(None), -place.start))
            kept |= dict.fromkeys(best, model)
    return kept
