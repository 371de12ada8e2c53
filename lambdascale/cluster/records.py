"""What happened in a run, as typed rows; the source of every CSV, figure and progress display.

Times are seconds since the scale-out started (negative during set-up).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from lambdascale.clock import now
from lambdascale.pipeline.stages import Stage


@dataclass(frozen=True, slots=True)
class BlockRecord:
    """Block `block` arrived at `node` from `src`."""

    node: int
    block: int
    src: int
    arrived_s: float
    verified_s: float


@dataclass(frozen=True, slots=True)
class CorruptRecord:
    """A corrupted block was detected and asked for again."""

    node: int
    block: int
    src: int
    time_s: float


@dataclass(frozen=True, slots=True)
class TokenRecord:
    """Output token `position` of `request`, sampled at `node`, the head of `pipeline`."""

    request: int
    position: int
    token: int
    time_s: float
    node: int
    pipeline: int
    kind: str
    last: bool


@dataclass(frozen=True, slots=True)
class PipelineRecord:
    """Pipeline `pipeline` (kind replica or pipeline) was formed, or dissolved."""

    pipeline: int
    kind: str
    stages: tuple[Stage, ...]
    time_s: float
    formed: bool


@dataclass(frozen=True, slots=True)
class PhaseRecord:
    """The moment `phase` was reached."""

    phase: str
    time_s: float


@dataclass(frozen=True, slots=True)
class NodeRecord:
    """What `node` reported when it was told to stop."""

    node: int
    steps: int
    overruns: int


Record = BlockRecord | CorruptRecord | TokenRecord | PipelineRecord | PhaseRecord | NodeRecord


class RunLog:
    """Collects records and shows each to `watch` as it happens."""

    def __init__(self, watch: Callable[[Record], None] = lambda _: None) -> None:
        self.records: list[Record] = []
        self._watch = watch
        self._start_s = 0.0
        self._phases: set[str] = set()

    def restart(self) -> None:
        """Count time from now on; phases so far get negative times."""
        elapsed = self.since()
        self._start_s += elapsed
        self.records = [
            replace(r, time_s=r.time_s - elapsed) if isinstance(r, PhaseRecord) else r
            for r in self.records
        ]

    def since(self, time_s: float | None = None) -> float:
        """Convert the loop's time (default: now) to seconds since the scale-out started."""
        return (now() if time_s is None else time_s) - self._start_s

    def add(self, record: Record) -> None:
        """Append a record."""
        self.records.append(record)
        self._watch(record)

    def phase(self, name: str) -> None:
        """Record that a phase was reached, once."""
        if name not in self._phases:
            self._phases.add(name)
            self.add(PhaseRecord(name, self.since()))
