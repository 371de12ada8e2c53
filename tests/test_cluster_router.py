"""Routing: whole replicas first, moved requests first, nothing beyond capacity, nothing lost."""

from lambdascale.cluster.router import Router, Server, Work
from lambdascale.workload.request import Request


def work(request: int) -> Work:
    return Work(Request(request, (1,), max_tokens=4))


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
    router.extend(0, 0, token=5, last=True)
    assert [w.request.id for _, w in router.dispatch()] == [1]
    router.extend(0, 1, token=5, last=True)
    assert router.idle


def test_requests_of_a_dissolved_pipeline_move_ahead_of_the_queue_with_their_tokens():
    router = Router()
    router.add(Server(0, head=2, whole=False, capacity=2))
    for request in range(3):
        router.enqueue(work(request))
    router.dispatch()
    router.extend(0, 0, token=11, last=False)
    router.drain(0)
    assert not router.dispatch(), "a draining pipeline takes nothing new"
    router.remove(0, (0, 1))
    router.add(Server(1, head=2, whole=True, capacity=3))
    moved = [w for _, w in router.dispatch()]
    assert [w.request.id for w in moved] == [0, 1, 2]
    assert moved[0].generated == [11]
