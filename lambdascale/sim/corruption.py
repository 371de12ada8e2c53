"""Block writes that arrive changed: a share of them, each a function of the seed, the link and its count.

Only writes into the memory of a GPU are hit. Activations and KV entries carry no checksum, so nobody would
see it but in the tokens; what a link loses of those is not simulated.
"""

from lambdascale.cluster.tags import GPU
from lambdascale.errors import ConfigError
from lambdascale.sim.mixing import name

_RANGE = 1 << 64
_APART = 0xC0  # from the jitter of the same seed


class Corruption:
    """Spoils `share` of the writes into GPU memory; two systems that are compared meet the same luck."""

    def __init__(self, share: float, seed: int) -> None:
        if not 0 <= share < 1:
            raise ConfigError(
                f"corruption is {share}; give a share of the writes, 0 or more, below 1"
            )
        self._share = share
        self._seed = seed
        self._counts: dict[tuple[int, int], int] = {}

    def hits(self, src: int, dst: int, region: int, nbytes: int) -> bool:
        """Say whether the next write from `src` into `region` of `dst` arrives changed, and count it."""
        if not (self._share and nbytes and region == GPU):
            return False
        count = self._counts[src, dst] = self._counts.get((src, dst), 0) + 1
        return name(self._seed, _APART, src, dst, count) < self._share * _RANGE
