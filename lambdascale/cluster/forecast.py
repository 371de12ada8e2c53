"""What the predictive policy expects: the arrival rate ahead, and the demand once a scale-out is over.

rate     arrivals n₁, n₂ of the two last windows w give n₂/w, plus a trend that is carried on linearly:
         (n₂ − n₁ − √(n₁ + n₂)) / w². The root is what chance alone changes (Poisson); only a rise
         beyond it counts. A trend is believed for at most a doubling, and a fall not at all
demand   rate × seconds a request holds a slot (Little's law), plus the backlog that those who wait
         and those who arrive meanwhile leave behind what ready instances can take
"""

import math
from bisect import bisect_right
from collections.abc import Sequence

MIN_WINDOW_S = 1.0  # a shorter window counts single requests


def window_s(ahead_s: float, service_s: float) -> float:
    """Return w: no forecast reaches further than w, and no rate is averaged over less than a service."""
    return max(ahead_s, service_s, MIN_WINDOW_S)


def forecast_rate(
    arrivals: Sequence[float], now: float, window_s: float, ahead_s: float
) -> tuple[float, float]:
    """Return arrivals per second, the mean until `now + ahead_s` and that of this moment.

    `arrivals` are times in ascending order that reach back 2 × `window_s`.

    >>> forecast_rate([0.2, 0.7, 1.2, 1.7], now=2.0, window_s=1.0, ahead_s=1.0)
    (2.0, 2.0)
    """
    older, split, end = (bisect_right(arrivals, now - back * window_s) for back in (2, 1, 0))
    before, recent = split - older, end - split
    rise = max(0.0, recent - before - math.sqrt(before + recent))
    rate, slope = recent / window_s, rise / window_s**2

    def at(ahead: float) -> float:
        return min(2 * rate, rate + slope * (window_s / 2 + ahead))

    return at(ahead_s / 2), at(ahead_s)


def forecast_demand(
    rates: tuple[float, float],
    ahead_s: float,
    service_s: float,
    num_waiting: int,
    num_serving: int,
    num_slots: int,
    num_ready: int,
) -> float:
    """Return the slots wanted in `ahead_s` seconds.

    `num_slots` are those of all instances, as those that load now will be ready then; `num_ready` of them
    are ready now.

    >>> forecast_demand((2.0, 2.0), 1.0, 3.0, num_waiting=4, num_serving=0, num_slots=0, num_ready=0)
    12.0
    """
    meanwhile, then = rates
    taken = max(0, num_slots - num_serving) + num_ready * ahead_s / service_s
    return then * service_s + max(0.0, num_waiting + meanwhile * ahead_s - taken)
