"""The mode switch of requests in flight: their KV entries move to a complete member, or are computed again.

By cost (`pipeline.adoption`), per request. Both ways give the same tokens.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lambdascale.cluster.deployment import ClusterSpec, Deployment
from lambdascale.cluster.growth import Growth
from lambdascale.cluster.records import RunLog, SwitchRecord
from lambdascale.cluster.stock import Send
from lambdascale.control import messages as m
from lambdascale.control.keys import new_key
from lambdascale.pipeline.adoption import Move, Unfinished, Weigh, moves, weigher
from lambdascale.pipeline.costs import Link, ModelCosts
from lambdascale.pipeline.switch import Method

if TYPE_CHECKING:
    from lambdascale.cluster.pipelines import Served
    from lambdascale.cluster.service import Service


@dataclass(frozen=True, slots=True)
class _Leaving:
    """KV entries leave `senders`, until all `requests` go on where they were brought."""

    growth: Growth
    senders: tuple[int, ...]
    requests: dict[int, None]


class Switching:
    """Moves the unfinished requests of pipelines that have dissolved; `method` None: by cost."""

    def __init__(
        self, method: Method | None, cluster: ClusterSpec, send: Send, log: RunLog
    ) -> None:
        self._method = method
        self._cluster = cluster
        self._send = send
        self._log = log
        self._waits: dict[int, _Leaving] = {}  # by pipeline

    def switch(self, service: "Service", served: "Served", message: m.Dissolved) -> None:
        """Decide for each unfinished request, and free the members of the pipeline."""
        decided = self._decide(service, served, message)
        adopted = [(move, _keyed(move)) for move in decided if move.node is not None]
        for move, pieces in adopted:
            u, to = move.unfinished, move.node or 0
            for p in pieces:
                self._send(p.node, m.SendKv(to, u.slot, p.first, p.stop, u.length, p.key))
        whole = served.growth.formation.whole
        senders = tuple(sorted({piece.node for _, pieces in adopted for piece in pieces}))
        if senders:
            waits = dict.fromkeys(move.unfinished.request for move, _ in adopted)
            self._waits[message.pipeline] = _Leaving(served.growth, senders, waits)
        lingering = [node for node in senders if not whole(node)]
        service.free(served.growth, message.pipeline, lingering)
        for move, pieces in adopted:
            self._adopt(service, move, pieces)
        self._record(decided, served)

    def resumed(self, service: "Service", request: int) -> bool:
        """An adopted request goes on: its entries have left where they were. True if nodes are free now."""
        before = len(self._waits)
        for pipeline, leaving in list(self._waits.items()):
            leaving.requests.pop(request, None)
            if not leaving.requests:
                del self._waits[pipeline]
                service.free(leaving.growth, pipeline, ())
        return len(self._waits) < before

    def sends_from(self, node: int) -> bool:
        """Are KV entries still leaving `node`?"""
        return any(node in leaving.senders for leaving in self._waits.values())

    def _decide(
        self, service: "Service", served: "Served", message: m.Dissolved
    ) -> tuple[Move, ...]:
        stages, formation = served.record.stages, served.growth.formation
        complete: list[int] = []
        if service.deployment.nodes_per_instance == 1:  # else a replica is itself several nodes
            complete = [n for n in dict.fromkeys(s.node for s in stages) if formation.whole(n)]
        alive = service.router.resumed
        unfinished = [
            Unfinished(u.request, u.slot, u.length)
            for u in message.unfinished
            if u.request in alive
        ]
        forced = self._method
        weigh = None if forced is Method.RECOMPUTE else self._weigh(service.deployment)
        room = service.deployment.capacity
        return moves(unfinished, stages, complete, room, weigh, forced)

    def _weigh(self, deployment: Deployment) -> Weigh | None:
        """The comparison by cost, if the device is known."""
        device, image = self._cluster.device, deployment.image
        if device is None:
            return None
        costs = ModelCosts.of(deployment.model, image.shape, image.layout.dtype)
        return weigher(costs, device, Link(self._cluster.link_rate, self._cluster.latency_s))

    def _adopt(self, service: "Service", move: Move, pieces: tuple[m.KvPiece, ...]) -> None:
        u, node = move.unfinished, move.node
        assert node is not None
        pipeline = service.pipelines.replica_of(node)
        work = service.router.adopt(u.request, pipeline)
        adopt = m.Adopt(pipeline, work.request, tuple(work.generated), u.slot, u.length, pieces)
        self._send(node, adopt)

    def _record(self, decided: tuple[Move, ...], served: "Served") -> None:
        now_s = self._log.since()
        for move in decided:
            u, weighed = move.unfinished, move.decision
            method = Method.RECOMPUTE if move.node is None else Method.TRANSFER
            node = served.head if move.node is None else move.node
            seconds = (weighed.recompute_s, weighed.transfer_s) if weighed else (0.0, 0.0)
            self._log.add(SwitchRecord(u.request, node, method.value, u.length, *seconds, now_s))


def _keyed(move: Move) -> tuple[m.KvPiece, ...]:
    """Give each piece that is to be brought a key."""
    return tuple(m.KvPiece(p.node, p.first, p.stop, new_key()) for p in move.pieces)
