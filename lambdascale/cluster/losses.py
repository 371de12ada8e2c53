"""What nodes that are gone leave behind in one service, until nothing that has to do with them is under way.

Instances that lack a node, pipelines that lack a stage, and whom those without a head served. `recovery`
says when everything is quiet.
"""

from collections.abc import Collection, Mapping, MutableMapping

from lambdascale.cluster.growth import Growth
from lambdascale.cluster.pipelines import Pipelines, Served
from lambdascale.cluster.router import Router
from lambdascale.cluster.stock import Stock
from lambdascale.storage.tiers import Tier


class Losses:
    """Follows the ends of nodes for the service of `model`, whose members `growth_of` has."""

    def __init__(
        self,
        model: str,
        router: Router,
        pipelines: Pipelines,
        growths: Mapping[int, Growth],
        growth_of: MutableMapping[int, Growth],
        stock: Stock,
    ) -> None:
        self._model = model
        self._router = router
        self._pipelines = pipelines
        self._growths = growths
        self._growth_of = growth_of
        self._stock = stock
        self._gone: list[int] = []  # instances that have lost nodes
        self._instances: list[int] = []  # those of them that worked for the model
        self._broken: dict[int, Growth] = {}
        self._requests: list[int] = []

    def lose(self, node: int) -> tuple[int, ...]:
        """A node is gone; return the waves of sends that must stop until what is left is planned anew.

        Requests of its pipelines are resumed, at once or when the head has stopped.
        """
        instance = self._stock.slices[self._model].instance(node)
        self._gone.append(instance)
        involved = [growth for growth in self._growths.values() if growth.involves(instance)]
        own = self._growth_of.pop(instance, None)
        if own is not None:
            self._instances.append(instance)
            own.lose(instance)
        for growth in self._growths.values():
            growth.lose(instance)
        for served in self._pipelines.through(node):
            self._break(served, node)
        held = self._hold() if involved else []
        return tuple(dict.fromkeys(growth.wave for growth in (*held, *involved)))

    def _hold(self) -> list[Growth]:
        """Let scale-outs wait for a repair: all of them, as they may feed each other."""
        held = [growth for growth in self._growths.values() if not growth.formation.complete]
        for growth in held:
            growth.repairing = True
        return held

    def _break(self, served: Served, node: int) -> None:
        """A pipeline has lost a stage: it, and whom it served, will be seen to."""
        if served.head == node:
            self._requests += self._router.server(served.pipeline).serving
        if served.instance is None:
            self._broken[served.pipeline] = served.growth
            served.growth.formation.broken(served.pipeline)
        self._pipelines.lose(served, node)

    def broke(self, pipeline: int) -> bool:
        """Has an execution pipeline lost a stage?"""
        return pipeline in self._broken

    def forsakes(self, node: int) -> bool:
        """Is `node` part of an instance that lacks another one?"""
        return self._stock.slices[self._model].instance(node) in self._instances

    def settle(self) -> tuple[list[int], dict[int, Growth]]:
        """All is quiet: free what is left of instances; return whom lost heads served, broken pipelines."""
        for instance in self._instances:
            self._withdraw(instance)
        for instance in self._gone:
            self._unpin(instance)
        left = self._requests, self._broken
        self._gone, self._instances, self._requests, self._broken = [], [], [], {}
        return left

    def give_up(self, growth: Growth) -> None:
        """Blocks of a scale-out are nowhere any more: its members are free."""
        for instance in [i for group in growth.plan.groups for i in group]:
            growth.lose(instance)
            del self._growth_of[instance]
            self._withdraw(instance)

    def _withdraw(self, instance: int) -> None:
        """An instance comes to nothing, and sends nothing."""
        self._unpin(instance, (Tier.GPU,))
        self._stock.withdraw(instance, self._model)

    def _unpin(self, instance: int, tiers: Collection[Tier] = tuple(Tier)) -> None:
        """Take back the pins of scale-outs on copies of an instance."""
        for growth in self._growths.values():
            taken = [pin for pin in growth.pinned if pin[0] == instance and pin[1] in tiers]
            self._stock.unpin_all(self._model, taken)
            growth.pinned = [pin for pin in growth.pinned if pin not in taken]
