"""From block times to seconds: what is multicast over which link, and the schedule that suits it best.

A block keeps a link busy for its bytes ÷ the link's rate and for OCCUPANCY_S, whatever its size: on a fast
link many small blocks cost more than they gain, on a slow one they do not.
"""

from dataclasses import dataclass
from functools import lru_cache

from lambdascale.errors import ConfigError
from lambdascale.model.nominal import NOMINAL
from lambdascale.multicast.choose import choose
from lambdascale.multicast.costs import LinkCost
from lambdascale.sim.models import nominal_model
from lambdascale.units import gbps, gigabytes, milliseconds

SIZES = {
    "smollm2-135m": 269_030_400,  # bytes in float16; the others are computed
    **{name: nominal_model(name).layout.nbytes for name in NOMINAL},
}
LINK_GBPS = (1, 10, 25, 50, 100, 200, 400, 800)
OCCUPANCY_S = 200e-6  # of a write, beyond its bytes


@dataclass(frozen=True, slots=True)
class Link:
    """A model in float16 and the rate of a node's link in Gbit/s. Raises ConfigError."""

    model: str = "smollm2-135m"
    link_gbps: float = 100.0

    def __post_init__(self) -> None:
        if self.model not in SIZES:
            raise ConfigError(f"model {self.model!r} is unknown; use one of {', '.join(SIZES)}")
        if not self.link_gbps > 0:
            raise ConfigError(f"link_gbps is {self.link_gbps}; give Gbit/s, above 0")

    @property
    def nbytes(self) -> int:
        """The bytes of the model."""
        return SIZES[self.model]

    def copy_s(self) -> float:
        """Seconds of one copy in one piece, which no multicast can go below."""
        return self.nbytes / gbps(self.link_gbps)

    def block_s(self, num_blocks: int) -> float:
        """Seconds that one of `num_blocks` keeps a link busy: the block time."""
        return OCCUPANCY_S + self.copy_s() / num_blocks


@lru_cache(maxsize=256)
def best(link: Link, num_nodes: int, num_sources: int, most_blocks: int) -> tuple[str, int]:
    """Return the algorithm and the number of blocks that are predicted to be over first on `link`.

    >>> best(Link("smollm2-135m", 400), 8, 1, 64)
    ('kway', 7)
    """
    cost = LinkCost(OCCUPANCY_S, 0.0, gbps(link.link_gbps))
    chosen = choose(num_nodes, num_sources, link.nbytes, cost, max_blocks=most_blocks)
    return chosen.schedule.algorithm, chosen.num_blocks


def in_seconds(link: Link, block_times: float, num_blocks: int) -> str:
    """Say how long `block_times` are on `link`.

    >>> in_seconds(Link("llama-2-13b", 400), 17, 16)
    'llama-2-13b (26 GB) at 400 Gbit/s: 557 ms, 1.07 × one copy in one piece; a block takes 32.7 ms'
    """
    block_s = link.block_s(num_blocks)
    total_s = block_times * block_s
    return (
        f"{link.model} ({gigabytes(link.nbytes):.3g} GB) at {link.link_gbps:g} Gbit/s: "
        f"{_ms(total_s)}, {total_s / link.copy_s():.2f} × one copy in one piece; "
        f"a block takes {_ms(block_s)}"
    )


def _ms(seconds: float) -> str:
    return f"{seconds:.3g} s" if seconds >= 1 else f"{milliseconds(seconds):.3g} ms"
