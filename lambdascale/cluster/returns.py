"""Nodes that come back: started again after their end, or never gone, only cut off from their controller.

came       an agent says hello, once nothing is under way there any more
admitted   nothing is under way elsewhere either that has to do with its last life (`recovery`): it is told to
           prepare, which one that never ended has done already
prepared   it says what it holds; from now on it is a node like any other
"""

import asyncio

from lambdascale.cluster.deployment import ClusterSpec
from lambdascale.cluster.members import Came, Members
from lambdascale.cluster.records import ReturnRecord, RunLog
from lambdascale.cluster.recovery import Recovery
from lambdascale.cluster.stock import Stock
from lambdascale.control import messages as m

RETURN = -2  # the token of links to a node that is back


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

    async def run(self) -> None:
        """Have nodes started again, for ever, if that is wanted."""
        async with asyncio.TaskGroup() as group:
            while True:
                node = await self._died.get()
                if self._cluster.restart_s is not None:
                    group.create_task(self._restart(node, self._cluster.restart_s))

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
        self._stock.enter(node, message.held)
        if self._cluster.preconnect:
            addresses = {other: members.addresses[other] for other in others}
            members.send(node, m.Connect(RETURN, addresses, others, others))
            here = {node: members.addresses[node]}
            members.tell(others, m.Connect(RETURN, here, (node,), (node,)))
        kept = sum(len(held.blocks) for held in message.held)
        self._log.add(ReturnRecord(node, kept, self._log.since()))
