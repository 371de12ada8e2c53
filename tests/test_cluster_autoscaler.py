"""How many instances are wanted: the authors' numbers, bounds, hysteresis, and foresight on a ramp."""

import doctest
import math
import random
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambdascale.cluster import forecast
from lambdascale.cluster.autoscaler import RULES, Observation, desired, history_s, recheck_s
from lambdascale.errors import ConfigError
from lambdascale.policy import POLICIES, ScalingPolicy

CONCURRENCY = ScalingPolicy()
AUTHORS = ScalingPolicy("authors", poll_s=1.0, concurrent=False)
PREDICTIVE = ScalingPolicy("predictive")
EMPTY = Observation(0.0, num_waiting=0, num_serving=0, num_instances=0, num_ready=0)


@st.composite
def observations(draw: st.DrawFn) -> Observation:
    num_instances = draw(st.integers(0, 12))
    num_ready = draw(st.integers(0, num_instances))
    slots = draw(st.integers(1, 8))
    idle = draw(st.lists(st.floats(0, 60), max_size=num_ready))
    arrivals = draw(st.lists(st.floats(0, 100), max_size=30))
    return Observation(
        now=100.0,
        num_waiting=draw(st.integers(0, 50)),
        num_serving=draw(st.integers(0, (num_ready - len(idle)) * slots)),
        num_instances=num_instances,
        num_ready=num_ready,
        slots_per_instance=slots,
        nodes_per_instance=draw(st.sampled_from([1, 2, 4])),
        num_free_nodes=draw(st.integers(0, 12)),
        idle_for_s=tuple(idle),
        arrivals=tuple(sorted(arrivals)),
        scale_out_s=draw(st.floats(0, 30)),
        service_s=draw(st.floats(0.1, 20)),
        scaling=draw(st.booleans()),
    )


@st.composite
def policies(draw: st.DrawFn) -> ScalingPolicy:
    least = draw(st.integers(0, 5))
    most = draw(st.none() | st.integers(max(1, least), 12))
    return ScalingPolicy(
        draw(st.sampled_from(POLICIES)),
        poll_s=draw(st.sampled_from([0.0, 1.0])),
        min_instances=least,
        max_instances=most,
        target=draw(st.sampled_from([0.3, 0.7, 1.0])),
        idle_s=draw(st.sampled_from([0.0, 15.0])),
        concurrent=draw(st.booleans()),
    )


@given(policies(), observations(), st.integers(1, 50))
def test_a_longer_queue_never_wants_fewer_instances(policy, seen, more):
    longer = replace(seen, num_waiting=seen.num_waiting + more)
    assert desired(policy, longer) >= desired(policy, seen)


@given(policies(), observations())
def test_bounds_are_kept_unless_a_running_scale_out_must_end_first(policy, seen):
    wanted = desired(policy, seen)
    assert policy.max_instances is None or wanted <= policy.max_instances
    if policy.concurrent or not seen.scaling:
        assert wanted >= policy.min_instances
    else:
        assert wanted <= seen.num_instances


@given(policies(), observations())
def test_without_demand_everything_idle_is_released_down_to_the_minimum(policy, seen):
    num = max(seen.num_instances, policy.min_instances)
    quiet = replace(
        seen,
        num_waiting=0,
        num_serving=0,
        num_instances=num,
        num_ready=num,
        idle_for_s=(policy.idle_s,) * num,
        arrivals=(),
        scaling=False,
    )
    assert desired(policy, quiet) == policy.min_instances


@given(policies(), observations())
def test_what_is_not_idle_for_long_enough_stays(policy, seen):
    if policy.name != "fixed" and policy.max_instances is None:
        busy = seen.num_instances - seen.num_idle(policy.idle_s)
        assert desired(policy, seen) >= busy


@given(policies(), observations())
def test_the_moment_of_the_next_look_is_ahead(policy, seen):
    seconds = recheck_s(policy, seen)
    assert seconds is None or 0 < seconds < math.inf


@pytest.mark.parametrize(
    ("waiting", "free", "nodes", "wanted"),
    [
        (8, 11, 1, 1 + 8),  # one GPU per waiting request (paper.md d.4)
        (50, 11, 1, 1 + 11),  # as many as are free
        (3, 20, 4, 1),  # 70B: one 4-GPU node per four waiting requests
        (9, 20, 4, 1 + 2),
        (50, 20, 4, 1 + 5),
        (9, 7, 4, 1 + 1),  # free nodes make up one instance only
        (0, 11, 1, 1),
    ],
)
def test_the_authors_add_one_gpu_per_waiting_request(waiting, free, nodes, wanted):
    seen = replace(
        EMPTY,
        num_waiting=waiting,
        num_instances=1,
        num_ready=1,
        num_free_nodes=free,
        nodes_per_instance=nodes,
    )
    assert desired(AUTHORS, seen) == wanted
    assert desired(AUTHORS, replace(seen, scaling=True)) == 1, "one scale-out at a time"


def test_the_authors_release_idle_instances_only_when_nothing_waits():
    policy = replace(AUTHORS, idle_s=15.0)
    seen = replace(EMPTY, num_instances=4, num_ready=4, num_serving=1, idle_for_s=(20.0, 15.0, 3.0))
    assert desired(policy, seen) == 2
    assert desired(policy, replace(seen, num_waiting=1)) == 4


@pytest.mark.parametrize(
    ("demand", "slots", "target", "wanted"),
    [
        (1, 8, 0.7, 1),
        (5, 8, 0.7, 1),
        (6, 8, 0.7, 2),
        (3, 1, 1.0, 3),
        (9, 10, 0.3, 3),
        (0, 8, 0.7, 0),
    ],
)
def test_concurrency_keeps_a_share_of_the_slots_free(demand, slots, target, wanted):
    seen = replace(EMPTY, num_waiting=demand, slots_per_instance=slots)
    assert desired(ScalingPolicy(target=target), seen) == wanted


def test_fixed_wants_the_minimum_whatever_happens():
    policy = ScalingPolicy("fixed", min_instances=3)
    assert desired(policy, replace(EMPTY, num_waiting=99)) == 3


@given(policies(), observations())
def test_prediction_never_wants_less_than_concurrency(policy, seen):
    now_s = replace(policy, name="concurrency")
    ahead = replace(policy, name="predictive")
    assert desired(ahead, seen) >= desired(now_s, seen)


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


@given(st.integers(0, 2**32), st.sampled_from([1.0, 4.0, 20.0]))
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


def test_an_event_driven_autoscaler_knows_when_to_look_again():
    policy = ScalingPolicy(idle_s=15.0)
    seen = replace(EMPTY, num_instances=3, num_ready=3, idle_for_s=(4.0, 20.0, 9.0))
    assert recheck_s(policy, seen) == pytest.approx(6.0)
    assert recheck_s(policy, replace(seen, idle_for_s=(20.0,))) is None


def test_history_covers_both_windows():
    assert history_s(PREDICTIVE, scale_out_s=4.0, service_s=3.0) == 8.0
    assert history_s(replace(PREDICTIVE, poll_s=1.0), scale_out_s=4.0, service_s=3.0) == 10.0


def test_every_policy_has_a_rule():
    assert tuple(RULES) == POLICIES


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"name": "best"}, "policy 'best' is unknown; use one of authors, concurrency"),
        ({"poll_s": -1.0}, "poll_s is -1.0; give seconds, 0 or more"),
        ({"idle_s": math.nan}, "idle_s is nan"),
        ({"phase_s": 0.5}, "phase_s is 0.5 but poll_s is 0"),
        ({"quantum_s": 0.0}, "quantum_s is 0.0"),
        ({"min_instances": -1}, "min_instances is -1"),
        ({"max_instances": 0}, "max_instances is 0; it must be at least 1"),
        ({"min_instances": 4, "max_instances": 3}, "max_instances is 3; it must be at least 4"),
        ({"target": 0.0}, r"target is 0.0; it is a share of slots, in \(0, 1\]"),
    ],
)
def test_a_policy_that_cannot_work_is_refused_with_the_remedy(change, why: str):
    with pytest.raises(ConfigError, match=why):
        ScalingPolicy(**change)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"num_waiting": -1}, "num_waiting is -1"),
        ({"slots_per_instance": 0}, "slots_per_instance is 0; it must be at least 1"),
        ({"service_s": 0.0}, "service_s 0.0; give finite seconds"),
        ({"num_ready": 1}, "num_instances is 0, but 1 are ready"),
        ({"idle_for_s": (1.0,)}, "0 are ready and 1 idle"),
    ],
)
def test_an_observation_that_cannot_be_is_refused(change, why: str):
    with pytest.raises(ConfigError, match=why):
        replace(EMPTY, **change)


def test_the_examples_in_the_docstrings_are_true():
    found = doctest.testmod(forecast)
    assert found.attempted > 0
    assert found.failed == 0
