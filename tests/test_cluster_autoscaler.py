"""How many instances are wanted: the authors' numbers, bounds, hysteresis, when to look again."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambdascale.cluster.autoscaler import RULES, Observation, desired, history_s, recheck_s
from lambdascale.errors import ConfigError
from lambdascale.policy import POLICIES, ScalingPolicy

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


def test_the_first_instance_of_the_authors_waits_for_no_more_requests_and_no_free_nodes():
    seen = replace(EMPTY, num_waiting=1, num_free_nodes=0, nodes_per_instance=4)
    assert desired(AUTHORS, seen) == 1


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
        ({"initial_instances": -1}, "initial_instances is -1"),
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


def test_the_authors_count_waiting_requests_per_gpu_of_an_instance():
    policy = replace(AUTHORS, per_instance=4)
    seen = replace(EMPTY, num_instances=1, num_free_nodes=5)
    wanted = [desired(policy, replace(seen, num_waiting=waiting)) for waiting in (0, 3, 4, 9, 99)]
    assert wanted == [1, 1, 2, 3, 6]


def test_hard_coded_steps_take_the_place_of_the_queue_until_they_are_used_up():
    policy = replace(AUTHORS, steps=(3, 8))
    seen = replace(EMPTY, num_waiting=1, num_instances=1, num_ready=1, num_free_nodes=6)
    wanted = [desired(policy, replace(seen, num_scale_outs=done)) for done in (0, 1, 2)]
    assert wanted == [1 + 3, 1 + 6, 1 + 1]
    assert desired(policy, replace(seen, num_waiting=0)) == 1, "nobody waits"


def test_initial_instances_stay_until_a_scale_out_had_to_load():
    policy = replace(AUTHORS, initial_instances=1)
    seen = replace(EMPTY, num_instances=1, num_ready=1, idle_for_s=(9.0,))
    assert [desired(policy, replace(seen, num_scale_outs=done)) for done in (0, 1)] == [1, 0]


@pytest.mark.parametrize("bad", [{"per_instance": 0}, {"steps": (3, 0)}])
def test_steps_and_queues_count_from_one(bad: dict[str, object]):
    with pytest.raises(ConfigError, match=r"per_instance|steps"):
        replace(AUTHORS, **bad)
