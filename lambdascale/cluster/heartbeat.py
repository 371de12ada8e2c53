"""Heartbeats: an agent that hangs keeps its channel open, so the controller asks all whether they are there.

Silence is counted in questions without an answer, not in seconds: a controller that was stopped or
starved itself asks nothing meanwhile, and blames nobody. An agent that is silent for too long is
ended by the fleet, so that its channel closes as that of any other that dies (decision 0010). If the
channel stays open for as long again, nobody can reach it, and it is taken for gone all the same.
"""

import asyncio
import math

from lambdascale.cluster.members import Members
from lambdascale.control import messages as m


class Heartbeat:
    """Asks every `every_s` seconds (0: never), and ends who says nothing for `silence_s`."""

    def __init__(self, members: Members, every_s: float, silence_s: float) -> None:
        self._members = members
        self._every_s = every_s
        self._limit = math.ceil(silence_s / every_s) if every_s else 0
        self._why = f"it was silent for {silence_s:g} s"
        self._unanswered: dict[int, int] = {}

    async def run(self) -> None:
        """Go on until cancelled."""
        while self._every_s:
            self._members.tell(self._members.alive, m.Ping())
            await asyncio.sleep(self._every_s)
            heard = self._members.heard()
            for node in [node for node in self._members.alive if node not in heard]:
                await self._missed(node)
            for node in heard:
                self._unanswered.pop(node, None)

    async def _missed(self, node: int) -> None:
        count = self._unanswered[node] = self._unanswered.get(node, 0) + 1
        if count == self._limit:
            await self._members.end(node, self._why)
        elif count == 2 * self._limit:
            self._members.give_up(node, f"{self._why}, and could not be ended")
