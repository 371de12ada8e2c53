"""What an experiment is: one frozen value, from which its results' folder is named."""

import hashlib
import math
from dataclasses import dataclass, field

import msgspec

from lambdascale.config import ScaleSpec, SystemSpec
from lambdascale.engine.device import DeviceModel
from lambdascale.errors import ConfigError
from lambdascale.model.layout import DTYPE_BYTES
from lambdascale.sim.conditions import Conditions
from lambdascale.units import gbps
from lambdascale.workload.request import Sampling

CLOCKS = ("real", "virtual")
PACED, SHAPED, NOMINAL = "paced", "shaped", "nominal"
LINKS = (PACED, SHAPED, NOMINAL)
REAL_DTYPES = ("float32", "bfloat16")  # a CPU computes in these; others are for simulation


def check_clock(clock: str, dtype: str, device: DeviceModel | None, link_gbps: float) -> None:
    """Raise ConfigError if a run cannot be had under `clock`."""
    if clock not in CLOCKS:
        raise ConfigError(f"clock {clock!r} is unknown; use one of {', '.join(CLOCKS)}")
    if dtype not in DTYPE_BYTES:
        raise ConfigError(f"dtype {dtype!r} is unknown; use one of {', '.join(DTYPE_BYTES)}")
    if clock == "real" and dtype not in REAL_DTYPES:
        known = ", ".join(REAL_DTYPES)
        raise ConfigError(f"dtype {dtype} is only simulated; run in one of {known}")
    if clock == "virtual" and (device is None or not link_gbps):
        raise ConfigError("a simulated run needs a device model and a link rate")


def check_link(link: str) -> None:
    """Raise ConfigError if nobody knows what holds the links to their rate."""
    if link not in LINKS:
        raise ConfigError(f"link {link!r} is unknown; use one of {', '.join(LINKS)}")


def check_nodes(conditions: Conditions, num_nodes: int) -> None:
    """Raise ConfigError if a straggler, or a node that dies, is none of the nodes."""
    for what in ("stragglers", "deaths"):
        for node, _ in getattr(conditions, what):
            if not 0 <= node < num_nodes:
                raise ConfigError(
                    f"{what} name node {node}, which is none of 0 to {num_nodes - 1}; name another"
                )


def provenance_of(clock: str, imposed: bool) -> str:
    """measured: real clock, nothing imposed; emulated: rates or devices imposed; simulated."""
    if clock == "virtual":
        return "simulated"
    return "emulated" if imposed else "measured"


def pace_of(clock: str, link: str, rate: float, used: float) -> float:
    """Return the bytes/s that an agent holds itself to, on a link of `rate` of which its system uses `used`.

    None where the link itself has the rate, and the system takes all of it.
    """
    return used if clock == "virtual" or link == PACED or used < rate else math.inf


def digest_of(spec: object) -> str:
    """A short name of a specification that changes whenever anything in it does."""
    encoded = msgspec.json.encode(spec, order="deterministic")
    return hashlib.sha256(encoded).hexdigest()[:12]


def rate_of(gigabits_per_second: float) -> float:
    """Return a rate in bytes/s, infinite for 0."""
    return gbps(gigabits_per_second) if gigabits_per_second else math.inf


@dataclass(frozen=True, slots=True)
class RunSpec:
    """One scale-out of `model` under load.

    `link_gbps` (Gbit/s, 0 = as fast as it goes) is the rate of every node's link in both directions. A
    `link` that is paced is held to it by the agents; one that is shaped, by something outside; a nominal
    one has it by its make. `cluster` names where the nodes are, if not on this machine. `device` is the
    floor that emulated devices keep to, and the device itself under the virtual clock, where `conditions`
    are what all else costs.
    """

    model: str = "smollm2-135m"
    dtype: str = "float32"
    system: SystemSpec = field(default_factory=SystemSpec)
    scale: ScaleSpec = field(default_factory=lambda: ScaleSpec(num_sources=2, num_nodes=4))
    prompts: tuple[str, ...] = ()
    max_tokens: int = 32
    sampling: Sampling = field(default_factory=Sampling)
    transport: str = "shm"
    link_gbps: float = 0.0
    device: DeviceModel | None = None
    clock: str = "real"
    label: str = "lambdascale"
    conditions: Conditions = field(default_factory=Conditions)
    cluster: str = ""
    link: str = PACED

    def __post_init__(self) -> None:
        check_clock(self.clock, self.dtype, self.device, self.link_gbps)
        check_link(self.link)
        check_nodes(self.conditions, self.scale.num_nodes)
        if not 0 <= self.link_gbps < math.inf:
            raise ConfigError(
                f"link_gbps is {self.link_gbps}; it must be positive, or 0 for no limit"
            )
        if self.max_tokens < 1:
            raise ConfigError(f"max_tokens is {self.max_tokens}; it must be at least 1")

    @property
    def num_sources(self) -> int:
        """How many nodes hold the model at first."""
        return self.scale.num_sources

    @property
    def rate(self) -> float:
        """The link rate in bytes/s."""
        return rate_of(self.link_gbps)

    @property
    def provenance(self) -> str:
        """What the numbers of a run are: see `provenance_of`."""
        imposed = self.device or (self.link_gbps and self.link != NOMINAL)
        return provenance_of(self.clock, bool(imposed))

    @property
    def digest(self) -> str:
        """A short name: see `digest_of`."""
        return digest_of(self)
