"""Who goes on with the requests of a dissolved pipeline, and how: the mode switch decided (paper.md c.8).

A member that has become complete can *adopt* a request: the request keeps its KV slot, the member has the
entries of its own parts already, and the others write theirs next to them. Where recomputing is sooner the
request is queued again instead, for any server.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lambdascale.pipeline.costs import Device, Link, ModelCosts
from lambdascale.pipeline.stages import Stage
from lambdascale.pipeline.switch import Method, SwitchDecision, switch_decision

Pieces = tuple[Stage, ...]  # of other members
Weigh = Callable[[int, Pieces], SwitchDecision]  # tokens, missing pieces


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A request of the dissolved pipeline: `length` of its tokens have KV entries, in `slot` everywhere."""

    request: int
    slot: int
    length: int


@dataclass(frozen=True, slots=True)
class Move:
    """What becomes of an unfinished request: adopted by `node`, or queued again (`node` is None)."""

    unfinished: Unfinished
    node: int | None
    pieces: Pieces
    decision: SwitchDecision | None


def weigher(model: ModelCosts, device: Device, link: Link) -> Weigh:
    """Return the comparison by cost: all missing entries over the link, or one pass over the tokens."""

    def weigh(tokens: int, pieces: Pieces) -> SwitchDecision:
        first, stop = min(p.first for p in pieces), max(p.stop for p in pieces)
        recompute = switch_decision(tokens, model, device, link, first, stop).recompute_s
        nbytes = sum(tokens * model.kv_of(piece.first, piece.stop) for piece in pieces)
        return SwitchDecision(recompute, link.seconds(nbytes))

    return weigh


def moves(
    unfinished: Sequence[Unfinished],
    stages: Sequence[Stage],
    complete: Sequence[int],
    room: int,
    weigh: Weigh | None,
    forced: Method | None = None,
) -> tuple[Move, ...]:
    """Decide for every unfinished request; `complete` members share the adopted ones, up to `room` each.

    Without `weigh`, or with `forced` recomputing, all are queued again; so is what has no KV entries.
    """
    if not complete or (weigh is None and forced is not Method.TRANSFER):
        return tuple(Move(u, None, (), None) for u in unfinished)
    adopted = dict.fromkeys(complete, 0)
    decided = []
    for u in unfinished:
        node = min(complete, key=lambda n: (adopted[n], n))
        pieces = tuple(s for s in stages if s.node != node and _has_layers(s, stages))
        decision = weigh(u.length, pieces) if weigh and u.length and pieces else None
        wanted = forced or (decision.method if decision else Method.RECOMPUTE)
        if u.length == 0 or wanted is Method.RECOMPUTE or adopted[node] >= room:
            decided.append(Move(u, None, (), decision))
        else:
            adopted[node] += 1
            decided.append(Move(u, node, pieces, decision))
    return tuple(decided)


def _has_layers(stage: Stage, stages: Sequence[Stage]) -> bool:
    """Does a stage run any part that leaves KV entries (neither embedding nor head)?"""
    last = max(s.stop for s in stages) - 1
    return max(stage.first, 1) < min(stage.stop, last)
