"""Routing under random operations: never beyond capacity, nothing lost or doubled, in order."""

from collections import Counter

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from lambdascale.cluster.router import Router, Server, Work
from lambdascale.errors import OverloadedError
from lambdascale.workload.request import Request


class AnyHistory(RuleBasedStateMachine):
    """Random operations beside the plainest bookkeeping: two lists that wait, and a server per request."""

    def __init__(self) -> None:
        super().__init__()
        self.router = Router(max_queue=6)
        self.resumed: list[int] = []
        self.new: list[int] = []
        self.at: dict[int, int] = {}
        self.tokens: Counter[int] = Counter()
        self.num_requests = 0
        self.num_servers = 0

    @rule()
    def arrive(self) -> None:
        request, self.num_requests = self.num_requests, self.num_requests + 1
        full = len(self.resumed) + len(self.new) >= 6
        try:
            self.router.enqueue(Work(Request(request, (1,), max_tokens=100)))
        except OverloadedError:
            assert full
        else:
            assert not full
            self.new.append(request)

    @precondition(lambda self: self.num_servers < 6)
    @rule(whole=st.booleans(), capacity=st.integers(1, 3), step_s=st.sampled_from([0.0, 0.01, 1.0]))
    def add(self, whole: bool, capacity: int, step_s: float) -> None:
        self.router.add(Server(self.num_servers, 0, whole, capacity, step_s=step_s))
        self.num_servers += 1

    @rule()
    def dispatch(self) -> None:
        for server, given in self.router.dispatch():
            assert not server.draining
            assert len(given.generated) == self.tokens[given.request.id]
            assert given.request.id == (self.resumed or self.new).pop(0), "first come, first served"
            self.at[given.request.id] = server.pipeline

    @precondition(lambda self: self.router.servers)
    @rule(data=st.data())
    def drain(self, data: st.DataObject) -> None:
        self.router.drain(data.draw(st.sampled_from(self.router.servers)).pipeline)

    @precondition(lambda self: self.router.servers)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        server = data.draw(st.sampled_from(self.router.servers))
        on_it = sorted({*server.serving, *server.ending})
        self.router.remove(server.pipeline, on_it)
        moved = sorted(r for r, pipeline in self.at.items() if pipeline == server.pipeline)
        self.resumed += moved
        for request in moved:
            del self.at[request]

    @precondition(lambda self: self.at)
    @rule(data=st.data(), last=st.booleans())
    def token(self, data: st.DataObject, last: bool) -> None:
        request = data.draw(st.sampled_from(sorted(self.at)))
        assert self.router.extend(self.at[request], request, tokens=[1], last=last)
        self.tokens[request] += 1
        if last:
            del self.at[request]

    @precondition(lambda self: self.num_requests)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        request = data.draw(st.integers(0, self.num_requests - 1))
        server = self.router.cancel(request)
        assert (server.pipeline if server else None) == self.at.pop(request, None)
        self.new = [r for r in self.new if r != request]
        self.resumed = [r for r in self.resumed if r != request]

    @rule(data=st.data(), ended=st.booleans())
    def let_go(self, data: st.DataObject, ended: bool) -> None:
        ending = [(s.pipeline, r) for s in self.router.servers for r in sorted(s.ending)]
        if ending:
            pipeline, request = data.draw(st.sampled_from(ending))
            if ended:
                assert not self.router.extend(pipeline, request, tokens=[1], last=True)
            else:
                self.router.freed(pipeline, request)

    @invariant()
    def everything_is_in_one_place(self) -> None:
        router = self.router
        assert {r: s.pipeline for s in router.servers for r in s.serving} == self.at
        assert router.num_serving == len(self.at)
        assert router.num_waiting == len(self.resumed) + len(self.new)
        assert router.idle == (not self.at and not self.resumed and not self.new)

    @invariant()
    def no_server_has_more_than_it_can_take(self) -> None:
        for server in self.router.servers:
            assert len(server.serving) + len(server.ending) <= server.capacity


class TestNothingIsLostOrDoubledWhateverHappens(AnyHistory.TestCase):
    settings = settings(deadline=None)
