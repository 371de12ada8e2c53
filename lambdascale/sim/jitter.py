"""Operation times that vary: factors of mean 1, each a function of the seed, who operates, and its count.

They do not depend on what happens elsewhere, so that two systems that are compared meet the same luck.
"""

import math
from statistics import NormalDist

from lambdascale.errors import ConfigError
from lambdascale.sim.mixing import name

_NORMAL = NormalDist()
_RANGE = 1 << 64


class Jitter:
    """Draws log-normal factors with mean 1 and standard deviation `sd` for the operations of `who`."""

    def __init__(self, sd: float, seed: int, *who: int) -> None:
        if not 0 <= sd < math.inf:
            raise ConfigError(f"jitter is {sd}; give a share of an operation's time, 0 or more")
        self._variance = math.log1p(sd * sd)  # of the logarithm
        self._who = (seed, *who)
        self._count = 0

    def factor(self) -> float:
        """Return by how much the next operation is longer."""
        if not self._variance:
            return 1.0
        self._count += 1
        quantile = (name(*self._who, self._count) + 0.5) / _RANGE
        z = _NORMAL.inv_cdf(min(quantile, 1 - 2**-53))
        return math.exp(math.sqrt(self._variance) * z - self._variance / 2)
