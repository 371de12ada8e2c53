"""What is known of real traces without having them: rates, how uneven they are, and lengths as quantiles.

The numbers are in `observed.json`, each with the repository, path and licence of the trace it describes.
They are all that the generator needs, and what generated traces are compared with.
"""

from bisect import bisect_right
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from itertools import pairwise
from math import pi, sin
from statistics import fmean, pstdev

import msgspec

BIN_S = 10.0  # of the states and of `counts_10s`
TAIL = 0.975  # the quantiles are 2.5 % apart; the last step is bent


class Rates(msgspec.Struct, frozen=True):
    """A hidden Markov chain over bins of BIN_S: in each state requests come at one of `rates` per second.

    `dispersion_10s` is the variance of the counts of all bins over their mean, `cv` that of the gaps between
    requests, `local_cv` that of the gaps between sixty in a row: what is left when the rate hardly changes.
    """

    mean: float
    dispersion_10s: float
    cv: float
    local_cv: float
    rates: tuple[float, ...]
    transition: tuple[tuple[float, ...], ...]
    occupancy: tuple[float, ...]

    @property
    def modulation(self) -> float:
        """Squared coefficient of variation of the rate within a state that explains `dispersion_10s`.

        With m the mean count of a bin and c that of a state, the variance of the counts is
        m·local_cv² + E[c²]·(1 + modulation) − m².
        """
        counts = [BIN_S * rate for rate in self.rates]
        shares = [share / sum(self.occupancy) for share in self.occupancy]
        mean = sum(share * count for share, count in zip(shares, counts, strict=True))
        square = sum(share * count**2 for share, count in zip(shares, counts, strict=True))
        return max(0.0, (mean * (self.dispersion_10s - self.local_cv**2) + mean**2) / square - 1)


class Quantiles(msgspec.Struct, frozen=True):
    """A length in tokens: its mean, and its quantiles from 0 to 1 in equal steps."""

    mean: float
    quantiles: tuple[float, ...]

    def at(self, share: float) -> int:
        """Return the length that `share` of all requests do not exceed; at least 1.

        Between two quantiles it is linear. In the last step, where a few very long ones lie, it is a power
        that makes the mean of all lengths the one observed.

        >>> Quantiles(20.0, (10.0, 20.0, 40.0)).at(0.25)
        15
        """
        steps = len(self.quantiles) - 1
        step = min(int(share * steps), steps - 1)
        low, high = self.quantiles[step : step + 2]
        within = share * steps - step
        if step == steps - 1:
            within **= self.tail_power
        return max(1, round(low + within * (high - low)))

    @property
    def tail_power(self) -> float:
        """The power of the last step; 1 where a straight line has too small a mean already."""
        *rest, (low, high) = pairwise(self.quantiles)
        tail = self.mean * (len(rest) + 1) - sum(sum(step) / 2 for step in rest)
        return max(1.0, (high - low) / (tail - low) - 1) if tail > low else 1.0


class Lengths(msgspec.Struct, frozen=True):
    """Prompt and answer of a request; `correlation` is Spearman's of the two."""

    correlation: float
    prompt: Quantiles
    output: Quantiles

    @property
    def normal_correlation(self) -> float:
        """The correlation of normal variables whose ranks are correlated as stated."""
        return 2 * sin(pi * self.correlation / 6)


class Observed(msgspec.Struct, frozen=True):
    """One real trace, or a part of one, in numbers; what is unknown is None or empty."""

    source: str
    rates: Rates | None = None
    lengths: Lengths | None = None
    counts_10s: tuple[int, ...] = ()
    hourly: tuple[float, ...] = ()


@cache
def observed() -> dict[str, Observed]:
    """Return all of them by name."""
    text = files("lambdascale.workload").joinpath("observed.json").read_bytes()
    return msgspec.json.decode(text, type=dict[str, Observed])


def dispersion(counts: Sequence[int]) -> float:
    """Return variance over mean, which is 1 for a Poisson process.

    >>> dispersion([1, 3])
    0.5
    """
    mean = sum(counts) / len(counts)
    return sum((count - mean) ** 2 for count in counts) / len(counts) / mean


def counts_of(arrivals_s: Sequence[float], bin_s: float, duration_s: float) -> tuple[int, ...]:
    """Return how many ascending arrivals lie in each of the bins that `duration_s` begins."""
    num_bins = max(1, -int(-duration_s // bin_s))
    ends = [bisect_right(arrivals_s, bin_s * (i + 1) - 1e-9) for i in range(num_bins)]
    return tuple(end - begin for begin, end in pairwise([0, *ends]))


def gap_cv(arrivals_s: Sequence[float]) -> float:
    """Return the coefficient of variation of the gaps between ascending arrivals.

    >>> gap_cv([0.0, 1.0, 2.0])
    0.0
    """
    gaps = [after - before for before, after in pairwise(arrivals_s)]
    return pstdev(gaps) / fmean(gaps)
