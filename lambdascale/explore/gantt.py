"""A run as a Gantt chart that grows with its records: blocks as they arrive, who serves meanwhile.

    node 2  |0|1|2|3|8|9|…          upper lane: a bar ends when its block has arrived; colour = block
            [stage][ replica  ]     lower lane: what the node serves as, from forming to dissolving

Text of an SVG, without matplotlib: it is drawn in about a millisecond, while the run goes on.
"""

from collections import deque
from collections.abc import Iterator
from html import escape
from itertools import pairwise
from statistics import median

import seaborn as sns

from lambdascale.cluster.records import (
    BlockRecord,
    PhaseRecord,
    PipelineRecord,
    Record,
    TokenRecord,
)
from lambdascale.figures.style import KIND_COLORS, PROVENANCE_COLORS
from lambdascale.figures.throughput import nice

LEFT, RIGHT, WIDTH = 64, 84, 940  # of the time axis, of the picture
TOP, ROW, BLOCK_LANE, SERVE_LANE = 30, 34, 15, 10
MOST_BARS = 3000  # of a long run, the last ones
NUM_TICKS = 8
GREY = "#666"

Span = tuple[int, str, float, float | None]  # node, kind, from, until (None: still)


class Gantt:
    """Takes records and draws them; `num_blocks` colours, and `sources` hold every block from the start."""

    def __init__(self, num_nodes: int, sources: int, num_blocks: int, provenance: str) -> None:
        self._num_nodes, self._sources = num_nodes, sources
        self._num_blocks, self._provenance = num_blocks, provenance
        palette = sns.color_palette("viridis", num_blocks).as_hex()
        self._colors = [str(color) for color in palette]
        self._arrived: list[deque[tuple[float, int]]] = [
            deque(maxlen=MOST_BARS // num_nodes) for _ in range(num_nodes)
        ]
        self._serving: dict[int, PipelineRecord] = {}
        self._served: deque[Span] = deque(maxlen=MOST_BARS)
        self.now_s, self.phase, self.num_tokens = 0.0, "starting", 0

    def see(self, record: Record) -> None:
        """Take in a record."""
        match record:
            case BlockRecord():
                self._arrived[record.node].append((record.arrived_s, record.block))
                self._pass(record.arrived_s)
            case TokenRecord():
                self.num_tokens += 1
                self._pass(record.time_s)
            case PipelineRecord(formed=True):
                self._serving[record.pipeline] = record
                self._pass(record.time_s)
            case PipelineRecord():
                self._dissolve(record)
            case PhaseRecord():
                self.phase = record.phase
                self._pass(record.time_s)

    def _pass(self, time_s: float) -> None:
        self.now_s = max(self.now_s, time_s)

    def _dissolve(self, record: PipelineRecord) -> None:
        if formed := self._serving.pop(record.pipeline, None):
            self._served.extend(
                (stage.node, formed.kind, formed.time_s, record.time_s) for stage in formed.stages
            )
        self._pass(record.time_s)

    def svg(self) -> str:
        """Return the picture of all that was seen."""
        height = TOP + ROW * self._num_nodes + 34
        body = [*self._head(), *self._axis(height)]
        for node in range(self._num_nodes):
            body += [*self._labels(node), *self._blocks(node)]
        body += self._lanes()
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="100%" '
            f'style="max-width: {WIDTH}px; background: white" font-family="sans-serif" font-size="12">'
            f"{''.join(body)}</svg>"
        )

    @property
    def _end_s(self) -> float:
        return self.now_s or 1.0

    def _x(self, time_s: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * min(max(time_s / self._end_s, 0.0), 1.0)

    def _head(self) -> Iterator[str]:
        yield _text(LEFT, 16, f"{self.phase} · {self.now_s:.2f} s · {self.num_tokens} tokens")
        names = {"pipeline": "stage of a pipeline", "replica": "replica"}
        for place, (kind, name) in enumerate(names.items()):
            x = 470 + 150 * place
            yield _bar(x, x + 14, 6, 10, KIND_COLORS[kind])
            yield _text(x + 19, 16, name, GREY)
        yield _bar(WIDTH - 84, WIDTH - 2, 3, 18, PROVENANCE_COLORS[self._provenance])
        yield _text(WIDTH - 43, 16, self._provenance, "white", "middle")

    def _axis(self, height: int) -> Iterator[str]:
        step = nice(self._end_s / NUM_TICKS)
        for number in range(int(self._end_s / step * (1 + 1e-9)) + 1):
            x = self._x(number * step)
            yield f'<path d="M{x:.1f} {TOP} V{height - 30}" stroke="#e5e5e5"/>'
            yield _text(x, height - 16, f"{number * step:.6g}", GREY, "middle")
        yield _text(WIDTH - RIGHT, height - 2, "seconds since the scale-out started", GREY, "end")

    def _labels(self, node: int) -> Iterator[str]:
        y, blocks = TOP + ROW * node + 15, {block for _, block in self._arrived[node]}
        yield _text(LEFT - 8, y, f"node {node}", anchor="end")
        source = node < self._sources
        if source and not blocks:
            yield _text(LEFT + 4, y, "holds every block", GREY)
        held = "source" if source else f"{len(blocks)}/{self._num_blocks}"
        yield _text(WIDTH - RIGHT + 8, y, held, GREY)

    def _blocks(self, node: int) -> Iterator[str]:
        """Bars as wide as the node's median gap between arrivals, so that a stall shows as white."""
        arrived = self._arrived[node]
        times = [0.0, *(time_s for time_s, _ in arrived)]
        gaps = [max(0.0, b - a) for a, b in pairwise(times)]
        usual = median(gaps) if gaps else 0.0
        y = TOP + ROW * node + 4
        for (time_s, block), gap in zip(arrived, gaps, strict=True):
            start, color = time_s - min(gap, usual), self._colors[block]
            yield _bar(self._x(start), self._x(time_s), y, BLOCK_LANE, color)

    def _lanes(self) -> Iterator[str]:
        still: list[Span] = [
            (stage.node, r.kind, r.time_s, None)
            for r in self._serving.values()
            for stage in r.stages
        ]
        for node, kind, from_s, until_s in (*self._served, *still):
            y = TOP + ROW * node + 4 + BLOCK_LANE + 1
            until = self._x(self._end_s if until_s is None else until_s)
            yield _bar(self._x(from_s), until, y, SERVE_LANE, KIND_COLORS[kind])


def _bar(left: float, right: float, y: float, height: float, color: str) -> str:
    width = max(0.5, right - left)
    return (
        f'<rect x="{left:.1f}" y="{y}" width="{width:.1f}" height="{height}" fill="{color}" '
        'stroke="white" stroke-width="0.5"/>'
    )


def _text(x: float, y: float, text: str, color: str = "#222", anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y}" fill="{color}" text-anchor="{anchor}">{escape(text)}</text>'
