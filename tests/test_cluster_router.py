"""Routing: whole replicas first, moved requests first, nothing beyond capacity, nothing lost."""

import math

import pytest

from lambdascale.cluster.router import Router, Server, Work
from lambdascale.errors import ConfigError, OverloadedError
from lambdascale.workload.request import Request


def work(request: int, max_tokens: int = 4, **state) -> Work:
    return Work(Request(request, (1,), max_tokens), **state)


def ids(assigned: list[tuple[Server, Work]]) -> list[int]:
    return [work.request.id for _, work in assigned]


def test_replicas_are_filled_before_pipelines():
    router = Router()
    router.add(Server(0, head=2, whole=False, capacity=8))
    router.add(Server(1, head=0, whole=True, capacity=2))
    for request in range(5):
        router.enqueue(work(request))
    assigned = [server.pipeline for server, _ in router.dispatch()]
    assert assigned == [1, 1, 0, 0, 0]


def test_work_waits_when_everything_is_full_and_goes_on_when_a_request_ends():
    router = Router()
    router.add(Server(0, head=0, whole=True, capacity=1))
    router.enqueue(work(0))
    router.enqueue(work(1))
    assert [w.request.id for _, w in router.dispatch()] == [0]
    assert not router.dispatch()
    router.extend(0, 0, tokens=[5], last=True)
    assert [w.request.id for _, w in router.dispatch()] == [1]
    router.extend(0, 1, tokens=[5], last=True)
    assert router.idle


def test_requests_of_a_dissolved_pipeline_move_ahead_of_the_queue_with_their_tokens():
    router = Router()
    router.add(Server(0, head=2, whole=False, capacity=2))
    for request in range(3):
        router.enqueue(work(request))
    router.dispatch()
    router.extend(0, 0, tokens=[11], last=False)
    router.drain(0)
    assert not router.dispatch(), "a draining pipeline takes nothing new"
    router.remove(0, (0, 1))
    router.add(Server(1, head=2, whole=True, capacity=3))
    moved = [w for _, w in router.dispatch()]
    assert [w.request.id for w in moved] == [0, 1, 2]
    assert moved[0].generated == [11]


def busy_replica(step_s: float, max_tokens: int) -> Router:
    """A router whose only replica serves request 0 and is full."""
    router = Router()
    router.add(Server(0, head=0, whole=True, capacity=1, step_s=step_s))
    router.enqueue(work(0, max_tokens))
    router.dispatch()
    return router


@pytest.mark.parametrize(
    ("left", "pipeline_s", "chosen"),
    [
        (2, 0.05, []),  # 2 × 0.01 until the slot is free, 0.01 for the token: sooner than 0.05
        (3, 0.05, []),
        (4, 0.05, [1]),  # just as soon: take what is free
        (40, 0.05, [1]),
        (2, 0.0, [1]),  # nothing is known of the pipeline: take what is free
    ],
)
def test_a_request_waits_for_a_replica_only_if_its_first_token_comes_sooner_there(
    left: int, pipeline_s: float, chosen: list[int]
) -> None:
    router = busy_replica(step_s=0.01, max_tokens=left)
    router.add(Server(1, head=1, whole=False, capacity=2, step_s=pipeline_s))
    router.enqueue(work(1))
    assert [server.pipeline for server, _ in router.dispatch()] == chosen


def test_nobody_overtakes_a_request_that_waits_for_a_replica():
    router = busy_replica(step_s=0.01, max_tokens=1)
    router.add(Server(1, head=1, whole=False, capacity=2, step_s=0.05))
    router.enqueue(work(1))
    router.enqueue(work(2))
    assert ids(router.dispatch()) == []
    router.extend(0, 0, tokens=[5], last=True)
    assert [(s.pipeline, w.request.id) for s, w in router.dispatch()] == [(0, 1), (1, 2)]


def test_a_draining_or_unmeasured_replica_is_not_waited_for():
    for change in ({"draining": True}, {"step_s": 0.0}):
        router = busy_replica(step_s=0.01, max_tokens=1)
        for name, value in change.items():
            setattr(router.servers[0], name, value)
        router.add(Server(1, head=1, whole=False, capacity=2, step_s=0.05))
        router.enqueue(work(1))
        assert [server.pipeline for server, _ in router.dispatch()] == [1]


def test_the_wait_for_a_server_is_that_for_its_soonest_slot():
    server = Server(0, head=0, whole=True, capacity=2, step_s=0.1)
    assert server.wait_s == 0.0
    server.serving |= {0: work(0, 9), 1: work(1, 5, generated=[7, 7])}
    assert server.wait_s == pytest.approx(0.3)
    del server.serving[0]
    server.ending.add(0)
    assert server.wait_s == pytest.approx(0.1), "a cancelled request leaves at the next step"
    server.draining = True
    assert server.wait_s == math.inf


def test_new_work_beyond_the_bound_is_refused_but_resumed_work_never():
    router = busy_replica(step_s=0.5, max_tokens=4)
    bounded = Router(max_queue=2)
    bounded.add(router.servers[0])
    bounded.enqueue(work(1))
    bounded.enqueue(work(2, resumed=True))
    with pytest.raises(
        OverloadedError, match=r"too many requests wait; try again in 2\.0 s"
    ) as refused:
        bounded.enqueue(work(3))
    assert refused.value.retry_after_s == 2.0
    bounded.enqueue(work(4, resumed=True))
    bounded.remove(0)
    assert bounded.num_waiting == 4
    bounded.add(Server(1, head=0, whole=True, capacity=8))
    assert ids(bounded.dispatch()) == [2, 4, 0, 1]


def test_a_refused_request_may_come_back_after_a_moment_even_if_nothing_is_known():
    router = Router(max_queue=1)
    router.enqueue(work(0))
    with pytest.raises(OverloadedError) as refused:
        router.enqueue(work(1))
    assert refused.value.retry_after_s > 0


def test_a_cancelled_request_that_waits_is_gone_at_once():
    router = Router()
    for request in range(3):
        router.enqueue(work(request))
    assert router.cancel(1) is None
    router.add(Server(0, head=0, whole=True, capacity=8))
    assert ids(router.dispatch()) == [0, 2]


def test_the_slot_of_a_cancelled_request_is_free_only_when_its_head_says_so():
    router = busy_replica(step_s=0.01, max_tokens=4)
    router.enqueue(work(1))
    server = router.cancel(0)
    assert server is router.servers[0]
    assert router.num_serving == 0
    assert router.cancel(0) is None, "once is enough"
    assert not router.dispatch(), "the head still runs it"
    assert router.extend(0, 0, tokens=[5], last=False) is False, "a token that was on its way"
    assert not router.dispatch()
    router.freed(0, 0)
    router.freed(0, 0)
    assert ids(router.dispatch()) == [1]


def test_a_cancelled_request_that_ends_by_itself_frees_its_slot():
    router = busy_replica(step_s=0.01, max_tokens=4)
    router.enqueue(work(1))
    router.cancel(0)
    assert router.extend(0, 0, tokens=[5], last=True) is False
    assert ids(router.dispatch()) == [1]
    router.freed(0, 0)
    assert router.num_serving == 1


def test_a_cancelled_request_does_not_resume_when_its_server_goes():
    router = busy_replica(step_s=0.01, max_tokens=4)
    router.cancel(0)
    router.remove(0, (0,))
    assert router.idle
    router.freed(0, 0)


def test_a_finished_or_unknown_request_can_be_cancelled_without_effect():
    router = busy_replica(step_s=0.01, max_tokens=4)
    router.extend(0, 0, tokens=[5], last=True)
    assert router.cancel(0) is None
    assert router.cancel(99) is None
    assert router.idle


def test_the_autoscaler_sees_how_many_wait_and_since_when():
    router = Router()
    assert (router.num_waiting, router.num_serving, router.waiting_since) == (0, 0, None)
    router.add(Server(0, head=0, whole=True, capacity=1))
    for request in range(3):
        router.enqueue(work(request, since_s=10.0 + request))
    router.dispatch()
    assert (router.num_waiting, router.num_serving, router.waiting_since) == (2, 1, 11.0)
    router.remove(0, now=20.0)
    assert (router.num_waiting, router.num_serving, router.waiting_since) == (3, 0, 11.0)
    router.add(Server(1, head=0, whole=True, capacity=1))
    (_, moved), *_ = router.dispatch()
    assert (moved.request.id, moved.since_s, moved.resumed) == (0, 20.0, True)


def test_a_request_cannot_be_here_twice():
    router = busy_replica(step_s=0.01, max_tokens=4)
    with pytest.raises(ConfigError, match="request 0 is here already"):
        router.enqueue(work(0))
    with pytest.raises(ConfigError, match="max_queue is 0"):
        Router(max_queue=0)
