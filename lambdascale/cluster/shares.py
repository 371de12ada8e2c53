"""Who gets how many instances when models want more nodes than there are: max-min fair, nobody starves.

    1  a first instance each, in this order while nodes last
         holders whose quantum is not over   · longest holder last
         those without one, longest wait first; none overtakes one that does not fit yet
         holders whose quantum is over       · longest holder last
    2  the rest one by one to whoever has the fewest nodes and wants more

With M models for N nodes, one node each, a model that gave way is served again within about M ÷ N quanta.
Nothing here says which node changes hands or when: a model gives way by draining.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from lambdascale.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Held:
    """What a model has now, and for how long; an instance takes `nodes_per_instance` nodes.

    `held_s`: seconds since its first instance became ready (0 while it loads). `waited_s`: seconds it has
    wanted an instance and had none; one that waits counts from when it gave way. Raises ConfigError.
    """

    num_instances: int = 0
    held_s: float = 0.0
    waited_s: float = 0.0
    nodes_per_instance: int = 1

    def __post_init__(self) -> None:
        if self.num_instances < 0:
            raise ConfigError(f"num_instances is {self.num_instances}; count from 0")
        if self.nodes_per_instance < 1:
            raise ConfigError(f"nodes_per_instance is {self.nodes_per_instance}; give at least 1")
        for name in ("held_s", "waited_s"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; give seconds, 0 or more")


def fair_shares(
    wants: Mapping[str, int],
    total: int,
    held: Mapping[str, Held],
    quantum_s: float = 15.0,
) -> dict[str, int]:
    """Return how many instances each model of `wants` gets of `total` nodes.

    A model that `held` does not name has nothing, takes one node and has just come. A model larger than
    all nodes together gets nothing. The answer does not depend on the order of `wants`.

    >>> fair_shares({"a": 9, "b": 2, "c": 9}, 10, {})
    {'a': 4, 'b': 2, 'c': 4}
    >>> waiting, holding = Held(waited_s=3.0), Held(1, held_s=20.0)
    >>> fair_shares({"a": 1, "b": 1}, 1, {"a": holding, "b": waiting})
    {'a': 0, 'b': 1}
    """
    _check(wants, total, quantum_s)
    now = {model: held.get(model, Held()) for model in wants}
    if sum(wants[model] * now[model].nodes_per_instance for model in wants) <= total:
        return dict(wants)
    shares = dict.fromkeys(wants, 0)
    fitting = [m for m in sorted(wants) if wants[m] and now[m].nodes_per_instance <= total]
    firsts = _firsts({m: now[m] for m in fitting}, total, quantum_s)
    for model in firsts:
        shares[model] = 1
    left = total - sum(now[m].nodes_per_instance for m in firsts)
    for model in _rest(wants, shares, now, left):
        shares[model] += 1
    return shares


def _firsts(now: Mapping[str, Held], total: int, quantum_s: float) -> list[str]:
    """The models that get a first instance."""
    holders = sorted((m for m in now if now[m].num_instances), key=lambda m: now[m].held_s)
    running = [m for m in holders if now[m].held_s < quantum_s]
    waiting = sorted((m for m in now if not now[m].num_instances), key=lambda m: -now[m].waited_s)
    firsts, left = _fit(running, now, total)
    entering, left = _fit(waiting, now, left, overtake=False)
    staying, _ = _fit(holders[len(running) :], now, left)
    return firsts + entering + staying


def _fit(
    models: list[str], now: Mapping[str, Held], left: int, overtake: bool = True
) -> tuple[list[str], int]:
    """The models that find room one after the other, and what is left then."""
    placed = []
    for model in models:
        if now[model].nodes_per_instance <= left:
            placed.append(model)
            left -= now[model].nodes_per_instance
        elif not overtake:
            break
    return placed, left


def _rest(
    wants: Mapping[str, int], shares: Mapping[str, int], now: Mapping[str, Held], left: int
) -> Iterator[str]:
    """Who gets the next instance, as long as anybody served wants one that fits; `shares` is followed."""

    def turn(model: str) -> tuple[int, bool, float, str]:
        has = now[model]
        nodes = shares[model] * has.nodes_per_instance
        return nodes, has.num_instances <= shares[model], -has.waited_s, model

    while able := [
        m for m in wants if 0 < shares[m] < wants[m] and now[m].nodes_per_instance <= left
    ]:
        model = min(able, key=turn)
        left -= now[model].nodes_per_instance
        yield model


def _check(wants: Mapping[str, int], total: int, quantum_s: float) -> None:
    if total < 0:
        raise ConfigError(f"total is {total} nodes; count from 0")
    for model, want in wants.items():
        if want < 0:
            raise ConfigError(f"model {model!r} wants {want} instances; count from 0")
    if not 0 < quantum_s < math.inf:
        raise ConfigError(f"quantum_s is {quantum_s}; give some seconds")
