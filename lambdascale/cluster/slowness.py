"""Which node of a scale-out is slow, by how long the writes of its peers and its own take.

Pure. A write takes as long as the slower of its ends, and at times it queues: so a node is as fast as the
fastest writes that it had a part in. It is slow if all but one of them, and at least `EVIDENCE`, took
`factor` times as long as is usual: the lower median over nodes of the fastest. A busy machine slows all
nodes, or one for a moment, and two quick writes clear a node for good. How often it errs: decision 0015.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence

Write = tuple[int, float]  # peer, seconds

EVIDENCE = 5  # writes: about two block times of a slow node
LEAST_S = 0.01  # what takes less than this is not worth another plan, and may be chance


class Watch:
    """What is known of the writes of one plan; `counts`: does a write between two nodes cross the network?

    `known`: the nodes that are slow. Without a `factor` there are none.
    """

    def __init__(self, factor: float | None, counts: Callable[[int, int], bool]) -> None:
        self._factor = factor or math.inf
        self._counts = counts
        self.known: dict[int, None] = {}
        self.forget()

    @property
    def watches(self) -> bool:
        """Is anybody to be found?"""
        return math.isfinite(self._factor)

    def forget(self) -> None:
        """Go by what comes from now on, but for who is known."""
        self._best: dict[int, list[float]] = {}  # the seconds of the two fastest writes
        self._num_done: Counter[int] = Counter()
        self._begun: dict[int, list[Write]] = {}  # by sender: peer, since when
        self._senders: defaultdict[int, dict[int, None]] = defaultdict(dict)
        self._usual_s, self._age = 0.0, 0

    def wrote(
        self, node: int, done: Sequence[Write], open_: Sequence[Write], time_s: float
    ) -> int | None:
        """Note writes of `node`; return who has just become `known` to be slow. Seconds."""
        for peer, seconds in self._of_use(node, done):
            for end in (node, peer):
                self._num_done[end] += 1
                self._best[end] = sorted([*self._best.get(end, ()), seconds])[:2]
        self._begun[node] = [(p, time_s - age_s) for p, age_s in self._of_use(node, open_)]
        for peer, _ in self._begun[node]:
            self._senders[peer][node] = None
        slow = self._slow({node, *(peer for peer, _ in (*done, *open_))}, time_s)
        if slow is not None:
            self.known[slow] = None
            self.forget()  # others may only seem slow because of it
        return slow

    def _of_use(self, node: int, writes: Sequence[Write]) -> Iterator[Write]:
        for peer, seconds in writes:
            if self._counts(node, peer) and not {node, peer} & self.known.keys():
                yield peer, seconds

    def _slow(self, nodes: set[int], time_s: float) -> int | None:
        limit_s = max(LEAST_S, self._factor * self._usual())
        found = []
        for node in nodes - self.known.keys():
            if self._pace(node) >= limit_s:
                late = sum(time_s - since >= limit_s for since in self._since(node))
                found.append((self._num_done[node] + late, node))
        evidence, node = max(found, default=(0, -1))
        return node if evidence >= EVIDENCE and self._usual_s else None

    def _usual(self) -> float:
        """Work it out anew once for every node that is known; it hardly changes."""
        self._age += 1
        if len(self._best) > 1 and (self._age > len(self._best) or not self._usual_s):
            self._age = 0
            self._usual_s = sorted(own[0] for own in self._best.values())[
                (len(self._best) - 1) // 2
            ]
        return self._usual_s

    def _pace(self, node: int) -> float:
        """Seconds of its second fastest write: the first one into an idle port is quick anywhere."""
        best = self._best.get(node, ())
        return best[1] if len(best) > 1 else math.inf

    def _since(self, node: int) -> Iterator[float]:
        """When the writes under way began that `node` has a part in."""
        yield from (since for _, since in self._begun.get(node, ()))
        for sender in self._senders[node]:
            yield from (since for peer, since in self._begun[sender] if peer == node)
