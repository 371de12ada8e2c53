"""Foresight: earlier than need on a ramp, calm on a flat line, and no runaway in a closed loop."""

import doctest
import math
import random
from dataclasses import dataclass, replace

import pytest

from lambdascale.cluster import forecast
from lambdascale.cluster.autoscaler import Observation, desired, recheck_s
from lambdascale.policy import ScalingPolicy

CONCURRENCY = ScalingPolicy()
PREDICTIVE = ScalingPolicy("predictive")
EMPTY = Observation(0.0, num_waiting=0, num_serving=0, num_instances=0, num_ready=0)


def served_at_once(now: float, arrivals: list[float], service_s: float = 3.0) -> Observation:
    """The model as it is if every request gets a slot when it arrives and there is room enough."""
    past = tuple(a for a in arrivals if a <= now)
    serving = sum(a > now - service_s for a in past)
    return replace(
        EMPTY,
        now=now,
        num_serving=serving,
        num_instances=99,
        num_ready=99,
        idle_for_s=(math.inf,) * (99 - serving),
        arrivals=past,
        scale_out_s=1.0,
        service_s=service_s,
    )


def test_prediction_scales_before_concurrency_on_a_ramp():
    ramp = [math.sqrt(2 * n / 2.0) for n in range(1, 900)]  # rate 2·t per second

    def reaches(policy: ScalingPolicy, wanted: int) -> float:
        times = (t / 10 for t in range(300))
        return next(t for t in times if desired(policy, served_at_once(t, ramp)) >= wanted)

    for wanted in (20, 40, 60, 80):
        lead_s = reaches(CONCURRENCY, wanted) - reaches(PREDICTIVE, wanted)
        assert lead_s >= 0.7, (
            "most of the second of a scale-out; the guard against chance costs the rest"
        )
    late = served_at_once(20.0, ramp)
    due = desired(CONCURRENCY, served_at_once(21.0, ramp))
    assert desired(PREDICTIVE, late) <= 1.3 * due, "the ramp goes on; it is not exaggerated"


@pytest.mark.parametrize("rate", [1.0, 4.0, 20.0])
def test_prediction_wants_no_more_than_concurrency_on_a_flat_line(rate: float):
    flat = [n / rate for n in range(int(60 * rate))]
    for t in range(20, 50):
        seen = served_at_once(t + 0.01, flat)
        assert desired(PREDICTIVE, seen) <= desired(CONCURRENCY, seen) + 1


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("rate", [1.0, 4.0, 20.0])
def test_prediction_on_a_flat_line_of_random_arrivals_stays_near_the_mean(seed: int, rate: float):
    draw = random.Random(seed)
    arrivals = [0.0]
    while arrivals[-1] < 60:
        arrivals.append(arrivals[-1] + draw.expovariate(rate))
    wanted = [desired(PREDICTIVE, served_at_once(float(t), arrivals)) for t in range(10, 60)]
    needed = [desired(CONCURRENCY, served_at_once(float(t), arrivals)) for t in range(10, 60)]
    assert max(wanted) <= 2 * max(needed), "a trend is believed for at most a doubling"
    assert sum(wanted) <= 1.25 * sum(needed)


@dataclass
class Run:
    """What a policy made of a load: seconds waited in all, the most instances and instance-seconds."""

    waited_s: float = 0.0
    peak: int = 0
    used_s: float = 0.0


def play(policy: ScalingPolicy, arrivals: list[float], seconds: float, scale_out_s: float) -> Run:
    """Serve `arrivals` in virtual time, 8 slots per instance, 3 s per request, a decision every 50 ms."""
    run, tick, service_s, slots = Run(), 0.05, 3.0, 8
    ready_at: list[float] = []  # one entry per instance
    ends: list[float] = []
    queue = 0
    for now in (n * tick for n in range(int(seconds / tick))):
        queue += sum(now - tick < a <= now for a in arrivals)
        ends = [end for end in ends if end > now]
        num_ready = sum(ready <= now for ready in ready_at)
        entering = min(queue, max(0, num_ready * slots - len(ends)))
        ends += [now + service_s] * entering
        queue -= entering
        num_idle = num_ready - math.ceil(len(ends) / slots)
        seen = Observation(
            now=now,
            num_waiting=queue,
            num_serving=len(ends),
            num_instances=len(ready_at),
            num_ready=num_ready,
            slots_per_instance=slots,
            idle_for_s=(math.inf,) * max(0, num_idle),
            arrivals=tuple(a for a in arrivals if a <= now),
            scale_out_s=scale_out_s,
            service_s=service_s,
        )
        wanted = desired(policy, seen)
        ready_at = sorted(ready_at)[:wanted]
        ready_at += [now + scale_out_s] * (wanted - len(ready_at))
        run.waited_s += queue * tick
        run.used_s += len(ready_at) * tick
        run.peak = max(run.peak, len(ready_at))
    return run


@pytest.mark.parametrize("scale_out_s", [1.0, 2.0, 6.0])
@pytest.mark.parametrize("shape", ["step", "ramp"])
def test_prediction_in_a_closed_loop_waits_less_and_does_not_run_away(
    shape: str, scale_out_s: float
):
    ramp, step = [math.sqrt(n) for n in range(1, 900)], [n / 15 for n in range(450)]
    load = ramp if shape == "ramp" else step
    ahead = play(PREDICTIVE, load, 30, scale_out_s)
    behind = play(CONCURRENCY, load, 30, scale_out_s)
    assert ahead.waited_s <= 0.85 * behind.waited_s
    assert ahead.peak <= 1.35 * behind.peak
    assert ahead.used_s <= 1.15 * behind.used_s


def test_prediction_adds_the_backlog_that_a_slow_scale_out_will_meet():
    arrivals = tuple(n / 4 for n in range(1, 41))
    cold = replace(EMPTY, now=10.0, num_waiting=4, arrivals=arrivals, scale_out_s=5.0)
    fast = replace(cold, scale_out_s=0.5)
    slots = ScalingPolicy("predictive", target=1.0)
    assert desired(slots, cold) == 4 + 4 + 20, "steady demand, waiting now, arriving meanwhile"
    assert desired(slots, fast) == 4 + 4 + 2


def test_prediction_forgets_a_burst_after_its_window():
    burst = tuple(1 + n / 100 for n in range(100))
    seen = replace(EMPTY, arrivals=burst, service_s=3.0, num_instances=1, num_ready=1)
    seen = replace(seen, idle_for_s=(1.0,))
    wanted = [desired(PREDICTIVE, replace(seen, now=float(t))) for t in (3, 4, 5)]
    assert wanted[0] > 0
    assert wanted[-1] == 0
    assert recheck_s(PREDICTIVE, replace(seen, now=3.0)) == pytest.approx(1.0)


def test_the_examples_in_the_docstrings_are_true():
    found = doctest.testmod(forecast)
    assert found.attempted > 0
    assert found.failed == 0
