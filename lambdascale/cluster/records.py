"""What happened in a run, as typed rows; the source of every CSV, figure and progress display.

Times are seconds since the run started (negative during set-up). A record of several models names its
own; where there is only one, the name is empty.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from lambdascale.clock import now
from lambdascale.errors import ConfigError
from lambdascale.pipeline.stages import Stage

ORIGINS = ("network", "host", "ssd", "gpu")
STARTS = ("hot", "warm", "cold", "ssd")
TIERS = ("gpu", "host", "ssd")
METHODS = ("recompute", "transfer")
START_UP = ("process started", "context created", "graphs captured", "registered")
SCALE_PHASES = (
    *("begun", "queued", "decided", "prepared", *START_UP, "connected", "loading"),
    *("covered", "first token", "switched", "full speed"),
)


@dataclass(frozen=True, slots=True)
class BlockRecord:
    """Block `block` arrived at `node` from node `src`; `origin`: over the network or from its own tier."""

    node: int
    block: int
    src: int
    arrived_s: float
    verified_s: float
    model: str = ""
    origin: str = "network"

    def __post_init__(self) -> None:
        _one_of("origin", self.origin, ORIGINS)


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
    model: str = ""


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


@dataclass(frozen=True, slots=True)
class AllocationRecord:
    """From now on `node` is assigned to `model` (loads, serves or drains), or no longer is."""

    model: str
    node: int
    time_s: float
    allocated: bool


@dataclass(frozen=True, slots=True)
class ScaleRecord:
    """A scale-out of `model` reached the end of `phase`, one of SCALE_PHASES; it may lack some.

    Its first record is *begun*: the oldest request that it is for came into the queue.
    """

    scale_out: int
    model: str
    phase: str
    time_s: float

    def __post_init__(self) -> None:
        _one_of("phase", self.phase, SCALE_PHASES)


@dataclass(frozen=True, slots=True)
class StartRecord:
    """How `node` starts in a scale-out; one of STARTS.

    Hot: its GPU holds the model. Warm: its host memory does. Cold: from other nodes. SSD: its own.
    """

    scale_out: int
    model: str
    node: int
    start: str
    time_s: float

    def __post_init__(self) -> None:
        _one_of("start", self.start, STARTS)


@dataclass(frozen=True, slots=True)
class ResidencyRecord:
    """From now on `node` holds the whole of `model` in `tier`, or no longer does."""

    model: str
    node: int
    tier: str
    time_s: float
    resident: bool

    def __post_init__(self) -> None:
        _one_of("tier", self.tier, TIERS)


@dataclass(frozen=True, slots=True)
class SwitchRecord:
    """`request` of `tokens` tokens moved to `node`; `method` is how its KV got there, by the two costs."""

    request: int
    node: int
    method: str
    tokens: int
    recompute_s: float
    transfer_s: float
    time_s: float

    def __post_init__(self) -> None:
        _one_of("method", self.method, METHODS)


@dataclass(frozen=True, slots=True)
class RefusedRecord:
    """`request` was turned away because too many wait; it may come again after `retry_after_s`."""

    request: int
    model: str
    time_s: float
    retry_after_s: float


@dataclass(frozen=True, slots=True)
class LossRecord:
    """`node` has ended and was given up, with everything it held."""

    node: int
    why: str
    time_s: float


@dataclass(frozen=True, slots=True)
class ReturnRecord:
    """`node` is back, or was found at the start, with so many verified blocks in all its tiers."""

    node: int
    blocks: int
    time_s: float


@dataclass(frozen=True, slots=True)
class RepairRecord:
    """Scale-out `scale_out` was planned anew: `num_sends` writes of blocks are to follow (0: given up)."""

    scale_out: int
    model: str
    num_sends: int
    time_s: float


@dataclass(frozen=True, slots=True)
class SlowRecord:
    """`node` is slow: it relays no more of scale-out `number`."""

    node: int
    number: int
    time_s: float


@dataclass(frozen=True, slots=True)
class FailedRecord:
    """`request` cannot be answered: no copy of `model` is left."""

    request: int
    model: str
    time_s: float


Record = (
    BlockRecord
    | CorruptRecord
    | TokenRecord
    | PipelineRecord
    | PhaseRecord
    | NodeRecord
    | AllocationRecord
    | ScaleRecord
    | StartRecord
    | ResidencyRecord
    | SwitchRecord
    | RefusedRecord
    | LossRecord
    | ReturnRecord
    | RepairRecord
    | SlowRecord
    | FailedRecord
)


class RunLog:
    """Collects records and shows each to `watch` as it happens.

    Without `every_token` it wants the first and the last token of a request; without `keep` it only shows.
    """

    def __init__(
        self,
        watch: Callable[[Record], None] = lambda _: None,
        every_token: bool = True,
        keep: bool = True,
    ) -> None:
        self.records: list[Record] = []
        self.every_token = every_token
        self._watches = [watch]
        self._keep = keep
        self._start_s = 0.0
        self._phases: set[str] = set()

    def restart(self) -> None:
        """Count time from now on; what has happened so far gets negative times."""
        elapsed = self.since()
        self._start_s += elapsed
        self.records = [
            replace(r, time_s=r.time_s - elapsed)
            if isinstance(r, PhaseRecord | ResidencyRecord)
            else r
            for r in self.records
        ]

    def since(self, time_s: float | None = None) -> float:
        """Convert the loop's time (default: now) to seconds since the scale-out started."""
        return (now() if time_s is None else time_s) - self._start_s

    def show(self, watch: Callable[[Record], None]) -> None:
        """Let another one see each record as it happens, too."""
        self._watches.append(watch)

    def add(self, record: Record) -> None:
        """Append a record."""
        if self._keep:
            self.records.append(record)
        for watch in self._watches:
            watch(record)

    def phase(self, name: str) -> None:
        """Record that a phase was reached, once."""
        if name not in self._phases:
            self._phases.add(name)
            self.add(PhaseRecord(name, self.since()))


def _one_of(field: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ConfigError(
            f"{field} {value!r} of a record is unknown; use one of {', '.join(known)}"
        )
