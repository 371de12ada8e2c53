"""Which server takes which request: whole replicas first, then pipelines, most free slots first.

Pure state; the controller sends what `dispatch` returns. Requests that had to move go to the front.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from lambdascale.workload.request import Request


@dataclass(slots=True)
class Work:
    """A request and the tokens it has so far."""

    request: Request
    generated: list[int] = field(default_factory=list)


@dataclass(slots=True)
class Server:
    """An execution pipeline that takes requests; `whole` if one node runs all of it."""

    pipeline: int
    head: int
    whole: bool
    capacity: int
    serving: dict[int, Work] = field(default_factory=dict)
    draining: bool = False

    @property
    def num_free(self) -> int:
        return 0 if self.draining else self.capacity - len(self.serving)


class Router:
    """The queue of waiting work and the servers that take from it."""

    def __init__(self) -> None:
        self._queue: deque[Work] = deque()
        self._servers: dict[int, Server] = {}

    @property
    def idle(self) -> bool:
        """Nothing waits and nothing is being served."""
        return not self._queue and not any(s.serving for s in self._servers.values())

    def add(self, server: Server) -> None:
        """Let `server` take work."""
        self._servers[server.pipeline] = server

    def enqueue(self, work: Work) -> None:
        """Queue new work."""
        self._queue.append(work)

    def drain(self, pipeline: int) -> None:
        """Give `pipeline` no more work."""
        self._servers[pipeline].draining = True

    def remove(self, pipeline: int, unfinished: Iterable[int]) -> None:
        """Forget a server; its unfinished requests go to the front of the queue, oldest first."""
        server = self._servers.pop(pipeline)
        self._queue.extendleft(server.serving[request] for request in reversed(tuple(unfinished)))

    def extend(self, pipeline: int, request: int, token: int, last: bool) -> None:
        """Note a token of `request`; after its last one it is done."""
        serving = self._servers[pipeline].serving
        serving[request].generated.append(token)
        if last:
            del serving[request]

    def dispatch(self) -> list[tuple[Server, Work]]:
        """Assign waiting work to servers as long as there is room."""
        assigned = []
        while self._queue and (server := self._best()) is not None:
            work = self._queue.popleft()
            server.serving[work.request.id] = work
            assigned.append((server, work))
        return assigned

    def _best(self) -> Server | None:
        able = [s for s in self._servers.values() if s.num_free > 0]
        return max(able, key=lambda s: (s.whole, s.num_free, -s.pipeline), default=None)
