"""Nodes that come back: started again after their end, or never gone, only cut off from their controller.

came       an agent says hello, once nothing is under way there any more
admitted   nothing is under way elsewhere either that has to do with its last life (`recovery`): it is told to
           prepare, which one that never ended has done already
prepared   it says what it holds; from now on it is a node like any other

One that ends again and again is started again later and later.
"""

import asyncio

from lambdascale.clock import now
from lambdascale.cluster.deployment import ClusterSpec
from lambdascale.cluster.members import Came, Members
from lambdascale.cluster.records import ReturnRecord, RunLog
from lambdascale.cluster.recovery import Recovery
from lambdascale.cluster.stock import Stock
from lambdascale.control import messages as m

RETURN = -2  # the token of links to a node that is back
SOON_S = 1.0  # the second wait for a node, at least
LATE_S = 30.0  # the longest wait; who has lived for as long is waited for as if for the first time


class Returns:
    """Lets nodes in again, and has those started again that have ended."""

    def __init__(
        self,
        prepare: m.Prepare,
        cluster: ClusterSpec,
        stock: Stock,
        recovery: Recovery,
        members: Members,
        log: RunLog,
    ) -> None:
        self._prepare = prepare
        self._cluster = cluster
        self._stock = stock
        self._recovery = recovery
        self._members = members
        self._log = log
        self._came: dict[int, Came] = {}
        self._prepared: dict[int, m.Prepared] = {}
        self._died: asyncio.Queue[int] = asyncio.Queue()
        self._waits: dict[int, float] = {}  # for each node, the last time
        self._entered_s: dict[int, float] = {}  # in the life that it has

    async def run(self) -> None:
        """Have nodes started again, for ever, if that is wanted."""
        async with asyncio.TaskGroup() as group:
            while True:
                node = await self._died.get()
                if self._cluster.restart_s is not None:
                    group.create_task(
                        self._restart(node, self._wait(node, self._cluster.restart_s))
                    )

    def _wait(self, node: int, first_s: float) -> float:
        """How long to wait for a node: twice as long as before if it has hardly lived."""
        lived_s = now() - self._entered_s.pop(node, now())
        before_s = self._waits.get(node)
        again_s = first_s if before_s is None else max(2 * before_s, SOON_S)
        wait_s = first_s if lived_s >= LATE_S else min(again_s, max(first_s, LATE_S))
        self._waits[node] = wait_s
        return wait_s

    async def _restart(self, node: int, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        await self._members.restart(node)

    def died(self, node: int) -> None:
        """The agent of a node has ended."""
        self._died.put_nowait(node)

    def came(self, came: Came) -> None:
        """An agent is here, and quiet."""
        self._came[came.node] = came

    def prepared(self, message: m.Prepared) -> None:
        """An agent that was admitted is ready."""
        self._prepared[message.node] = message

    def ended(self, node: int) -> None:
        """A node has gone again, perhaps before it was one of us."""
        self._came.pop(node, None)
        self._prepared.pop(node, None)

    def go_on(self) -> None:
        """Let in whom nothing stands in the way of."""
        if self._recovery.under_way:
            return
        came, self._came = self._came, {}
        for event in came.values():
            self._members.admit(event)
            self._members.send(event.node, self._prepare)
        prepared, self._prepared = self._prepared, {}
        for message in prepared.values():
            self._enter(message)

    def _enter(self, message: m.Prepared) -> None:
        node, members = message.node, self._members
        others = tuple(members.alive)
        members.enter(node)
        self._entered_s.setdefault(node, now())
        self._stock.enter(node, message.held)
        if self._cluster.preconnect:
            addresses = {other: members.addresses[other] for other in others}
            members.send(node, m.Connect(RETURN, addresses, others, others))
            here = {node: members.addresses[node]}
            members.tell(others, m.Connect(RETURN, here, (node,), (node,)))
        self._log.add(ReturnRecord(node, message.num_blocks, self._log.since()))
