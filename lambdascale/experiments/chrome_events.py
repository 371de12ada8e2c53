"""The few kinds of events of Chrome's trace format that we write, and lanes for spans that overlap.

Times come in seconds and leave in whole microseconds, so that spans which meet still meet. Process and
thread ids begin at 1: viewers keep 0 for themselves.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

from lambdascale.units import microseconds

Event = dict[str, Any]  # as the format has it


@dataclass(frozen=True, slots=True)
class Span:
    """Something with a name that lasts; `details` are shown when it is clicked."""

    name: str
    start_s: float
    stop_s: float
    details: Mapping[str, object] = field(default_factory=dict)


@dataclass(slots=True)
class Process:
    """The rows of one process: its threads are numbered in the order in which they are added."""

    pid: int
    name: str
    events: list[Event] = field(default_factory=list)
    num_threads: int = 0

    def __post_init__(self) -> None:
        self._describe("process_name", 0, name=self.name)
        self._describe("process_sort_index", 0, sort_index=self.pid)

    def thread(self, name: str, spans: Iterable[Span]) -> None:
        """Add a thread of spans, and further ones for those that would overlap."""
        for number, lane in enumerate(lanes(spans)):
            tid = self._new_thread(name if number == 0 else f"{name} ({number + 1})")
            self.events += [
                {
                    **{"ph": "X", "pid": self.pid, "tid": tid, "name": span.name},
                    **{"ts": start, "dur": microseconds(span.stop_s) - start},
                    "args": span.details,
                }
                for span in lane
                for start in [microseconds(span.start_s)]
            ]

    def instants(self, name: str, moments: Sequence[Span]) -> None:
        """Add a thread of marks, each at the start of a span."""
        if moments:
            tid = self._new_thread(name)
            self.events += [
                {
                    **{"ph": "i", "s": "t", "pid": self.pid, "tid": tid, "name": moment.name},
                    **{"ts": microseconds(moment.start_s), "args": moment.details},
                }
                for moment in moments
            ]

    def counter(self, name: str, changes: Iterable[tuple[float, int]]) -> None:
        """Add a curve that changes by so much at each time."""
        moments: defaultdict[int, int] = defaultdict(int)
        for time_s, change in changes:
            moments[microseconds(time_s)] += change
        totals = accumulate(moments[ts] for ts in sorted(moments))
        self.events += [
            {
                **{"ph": "C", "pid": self.pid, "tid": 0, "name": name},
                **{"ts": ts, "args": {"value": total}},
            }
            for ts, total in zip(sorted(moments), totals, strict=True)
        ]

    def _new_thread(self, name: str) -> int:
        self.num_threads += 1
        self._describe("thread_name", self.num_threads, name=name)
        self._describe("thread_sort_index", self.num_threads, sort_index=self.num_threads)
        return self.num_threads

    def _describe(self, what: str, tid: int, **args: object) -> None:
        self.events.append({"ph": "M", "pid": self.pid, "tid": tid, "name": what, "args": args})


def lanes(spans: Iterable[Span]) -> Iterator[list[Span]]:
    """Yield as few lists as possible, in each of which no two spans overlap.

    >>> [[s.name for s in lane] for lane in lanes([Span("a", 0, 2), Span("b", 1, 3), Span("c", 2, 4)])]
    [['a', 'c'], ['b']]
    """
    found: list[list[Span]] = []
    for span in sorted(spans, key=lambda s: (s.start_s, s.stop_s)):
        free = next((lane for lane in found if lane[-1].stop_s <= span.start_s), None)
        if free is None:
            found.append([span])
        else:
            free.append(span)
    yield from found


def in_order(events: Iterable[Event]) -> list[Event]:
    """Descriptions first, then by time from 0 on; those of one thread stay in their order."""
    events = list(events)
    zero = min(0, min((event["ts"] for event in events if "ts" in event), default=0))
    moved = [{**event, "ts": event["ts"] - zero} if "ts" in event else event for event in events]
    return sorted(moved, key=lambda e: (e["ph"] != "M", e.get("ts", 0)))
