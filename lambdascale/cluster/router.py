"""Which server takes which request of one model, and who waits; pure state, the controller sends.

Waiting work is taken in order, resumed work before new. The first in line decides: it takes a free slot
of a whole replica, else of a pipeline, most free slots first. It lets a pipeline's slot go only if a full
replica gives the first token sooner:

    soonest slot to be free + one step of the replica  <  one step of the pipeline

Whoever is behind waits with it, so nobody is overtaken. The soonest slot is that of the request with the
fewest tokens left; `max_tokens` is an upper bound, so real slots are free earlier.
"""

import math
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from lambdascale.errors import ConfigError, OverloadedError
from lambdascale.workload.request import Request

RETRY_S = 1.0  # said to a refused request while no server's speed is known


@dataclass(slots=True)
class Work:
    """A request and the tokens it has so far; queued at `since_s`, `resumed` if it has been served before."""

    request: Request
    generated: list[int] = field(default_factory=list)
    since_s: float = 0.0
    resumed: bool = False

    @property
    def num_left(self) -> int:
        """Tokens still to come, at most."""
        return self.request.max_tokens - len(self.generated)


@dataclass(slots=True)
class Server:
    """An execution pipeline that takes requests; `whole` if one node runs all of it.

    `step_s`: estimated seconds per token of one request under the present load, kept up to date by the
    controller; 0 is unknown. `ending`: cancelled requests whose slots the head has not given back.
    """

    pipeline: int
    head: int
    whole: bool
    capacity: int
    serving: dict[int, Work] = field(default_factory=dict)
    draining: bool = False
    step_s: float = 0.0
    ending: set[int] = field(default_factory=set)

    @property
    def num_free(self) -> int:
        return 0 if self.draining else self.capacity - len(self.serving) - len(self.ending)

    @property
    def wait_s(self) -> float:
        """Seconds until a slot is free, at most; infinite if nothing is known."""
        if self.num_free > 0:
            return 0.0
        if self.draining or not self.step_s:
            return math.inf
        if self.ending:
            return self.step_s
        return self.step_s * min(work.num_left for work in self.serving.values())


class Router:
    """The queue of waiting work of one model and the servers that take from it.

    New work is refused while `max_queue` requests wait; resumed work never is.
    """

    def __init__(self, max_queue: int | None = None) -> None:
        if max_queue is not None and max_queue < 1:
            raise ConfigError(
                f"max_queue is {max_queue}; let at least 1 wait, or None for no bound"
            )
        self._max_queue = max_queue
        self._resumed: OrderedDict[int, Work] = OrderedDict()
        self._new: OrderedDict[int, Work] = OrderedDict()
        self._servers: dict[int, Server] = {}

    @property
    def idle(self) -> bool:
        """Nothing waits and nothing is being served."""
        return not self.num_waiting and not self.num_serving

    @property
    def num_waiting(self) -> int:
        return len(self._resumed) + len(self._new)

    @property
    def num_serving(self) -> int:
        return sum(len(server.serving) for server in self._servers.values())

    @property
    def waiting(self) -> tuple[int, ...]:
        """The requests that wait, in order."""
        return (*self._resumed, *self._new)

    @property
    def waiting_since(self) -> float | None:
        """When the first in line of either priority was queued, the earlier one; None if nothing waits."""
        return min((work.since_s for work in self._firsts()), default=None)

    @property
    def servers(self) -> tuple[Server, ...]:
        """The servers, in the order in which they were added."""
        return tuple(self._servers.values())

    def add(self, server: Server) -> None:
        """Let `server` take work."""
        self._servers[server.pipeline] = server

    def enqueue(self, work: Work) -> None:
        """Queue work; OverloadedError if it is new and the queue is full, ConfigError if it is here."""
        request = work.request.id
        if self._queue_of(request) is not None or self._server_of(request) is not None:
            raise ConfigError(f"request {request} is here already; give each an id of its own")
        if work.resumed:
            self._resumed[request] = work
            return
        if self._max_queue is not None and self.num_waiting >= self._max_queue:
            waits = (server.wait_s for server in self._servers.values())
            raise OverloadedError(min((s for s in waits if 0 < s < math.inf), default=RETRY_S))
        self._new[request] = work

    def drain(self, pipeline: int) -> None:
        """Give `pipeline` no more work."""
        self._servers[pipeline].draining = True

    def undrain(self, pipeline: int) -> None:
        """Give `pipeline` work again."""
        self._servers[pipeline].draining = False

    def server(self, pipeline: int) -> Server:
        """Return the server of a pipeline."""
        return self._servers[pipeline]

    @property
    def resumed(self) -> tuple[int, ...]:
        """The requests that wait to be served again, in order."""
        return tuple(self._resumed)

    def adopt(self, request: int, pipeline: int) -> Work:
        """Let `pipeline` go on with a request that waits to be served again; return it."""
        work = self._servers[pipeline].serving[request] = self._resumed.pop(request)
        return work

    def remove(
        self, pipeline: int, unfinished: Iterable[int] = (), now: float | None = None
    ) -> None:
        """Forget a server; what it serves resumes ahead of new work, `unfinished` first, in their order.

        They count as queued `now`, if given. Cancelled requests are over.
        """
        serving = self._servers.pop(pipeline).serving
        order = [request for request in unfinished if request in serving]
        for request in dict.fromkeys((*order, *serving)):
            work = self._resumed[request] = serving[request]
            work.resumed = True
            work.since_s = work.since_s if now is None else now

    def extend(self, pipeline: int, request: int, tokens: Sequence[int], last: bool) -> bool:
        """Note tokens of `request`; after its last one it is done. False: it was cancelled, ignore them."""
        server = self._servers[pipeline]
        if request in server.ending:
            if last:
                server.ending.remove(request)
            return False
        server.serving[request].generated.extend(tokens)
        if last:
            del server.serving[request]
        return True

    def cancel(self, request: int) -> Server | None:
        """Give up a request; return the server that must be told, None if none serves it.

        The server's slot stays taken until `freed`: its head lets go at a step boundary, and a request
        sent before that would find no slot there.
        """
        if (queue := self._queue_of(request)) is not None:
            del queue[request]
            return None
        server = self._server_of(request)
        if server is not None:
            del server.serving[request]
            server.ending.add(request)
        return server

    def freed(self, pipeline: int, request: int) -> None:
        """Note that a cancelled request has left its slot; news of what is over or gone is ignored."""
        if pipeline in self._servers:
            self._servers[pipeline].ending.discard(request)

    def dispatch(self) -> list[tuple[Server, Work]]:
        """Assign waiting work to servers as long as there is room."""
        assigned = []
        while self.num_waiting and (server := self._best()) is not None:
            _, work = (self._resumed or self._new).popitem(last=False)
            server.serving[work.request.id] = work
            assigned.append((server, work))
        return assigned

    def _best(self) -> Server | None:
        """The server for the first in line; None if there is no room or waiting for a replica is better."""
        able = [s for s in self._servers.values() if s.num_free > 0]
        best = max(able, key=lambda s: (s.whole, s.num_free, -s.step_s, -s.pipeline), default=None)
        if best is None or best.whole or not best.step_s:
            return best
        soonest_s = min(
            (s.wait_s + s.step_s for s in self._servers.values() if s.whole), default=math.inf
        )
        return None if soonest_s < best.step_s else best

    def _firsts(self) -> Iterator[Work]:
        for queue in (self._resumed, self._new):
            if queue:
                yield next(iter(queue.values()))

    def _queue_of(self, request: int) -> OrderedDict[int, Work] | None:
        return next((q for q in (self._resumed, self._new) if request in q), None)

    def _server_of(self, request: int) -> Server | None:
        return next((s for s in self._servers.values() if request in s.serving), None)
