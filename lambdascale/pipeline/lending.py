"""When a source should lend parts to receivers, and how much: by cost, within what its residents bear.

    prefill, large batches   cost adds up      → a receiver's share takes work off the source
    small decode batches     reading weights   → the source alone is as fast, without the hops

Prefill is lent first: it is one shot, and its KV stays where it was computed. Decode is lent only if the
prediction gains MARGIN. Rows that a lender sends to a member are its egress, which weights go before.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from lambdascale.errors import ConfigError
from lambdascale.pipeline.batching import (
    MAX_SLOWDOWN,
    lendable_rows,
    lender_step_s,
    lent_rows,
    slowdown,
)
from lambdascale.pipeline.costs import MARGIN, Device, Link, ModelCosts
from lambdascale.pipeline.stages import Stage


@dataclass(frozen=True, slots=True)
class LenderState:
    """`resident` decode rows per step (0: none to protect), and the bytes/s weights leave of its egress."""

    resident: int
    egress: float


@dataclass(frozen=True, slots=True)
class Lending:
    """`rows` per step for each pipeline (0: do not lend), and predicted rates in rows/s with and without.

    `slowdown` is that of a resident's token; `reason` says which limit binds.
    """

    rows: int
    rate: float
    alone: float
    slowdown: float
    reason: str


def lend_prefill(
    device: Device,
    model: ModelCosts,
    state: LenderState,
    pipelines: Sequence[Sequence[Stage]],
    lender: int,
    chunk: int,
) -> Lending:
    """Decide whether the prompts waiting are better prefilled by `pipelines` than by the lender alone.

    `pipelines` are the stages of each, the lender's among them; a chunk has at most `chunk` rows. Each
    row that leaves the lender for a member counts against `state.egress`.
    """
    if chunk < 1:
        raise ConfigError(f"chunk is {chunk}; a prefill step needs at least one row")
    alone = _alone(device, model, state, chunk)
    borrowed = [[s for s in stages if s.node == lender] for stages in pipelines]
    rows = lendable_rows(device, model, state.resident, borrowed, max_rows=chunk)
    if not pipelines or rows == 0:
        return Lending(0, alone, alone, 1.0, "no room" if pipelines else "no pipeline")
    pace = rows / lender_step_s(device, model, state.resident, lent_rows(borrowed, rows))
    limits = [min(pace, _members_rate(device, model, s, lender, rows)) for s in pipelines]
    free, bound = (
        _rate(limits, 1.0, pace, alone),
        _share_of_egress(limits, pipelines, lender, model, state),
    )
    rate = _rate(limits, bound, pace, alone)
    if rate < MARGIN * alone:
        reason = "egress is needed for weights" if free >= MARGIN * alone else "no gain"
        return Lending(0, alone, alone, 1.0, reason)
    slow = slowdown(device, model, state.resident, borrowed, rows)
    return Lending(rows, rate, alone, slow, "lend" if bound == 1 else "lend, egress-bound")


def _rate(limits: Sequence[float], share: float, pace: float, alone: float) -> float:
    """All pipelines at `share` of their limits; in the steps without lent rows the lender prefills alone."""
    return share * sum(limits) + (1 - share * max(limits) / pace) * alone


def _share_of_egress(
    limits: Sequence[float],
    pipelines: Sequence[Sequence[Stage]],
    lender: int,
    model: ModelCosts,
    state: LenderState,
) -> float:
    """The share of `limits` whose activations fit into what weights leave of the lender's egress."""
    exits = sum(rate * _exits(s, lender) for rate, s in zip(limits, pipelines, strict=True))
    return min(1.0, state.egress / (exits * model.row_nbytes)) if exits else 1.0


def _alone(device: Device, model: ModelCosts, state: LenderState, chunk: int) -> float:
    """Rows per second that the lender prefills by itself beside its residents."""
    whole = [[Stage(0, 0, model.layout.num_parts)]]
    rows = lendable_rows(device, model, state.resident, whole, max_rows=chunk)
    return rows / lender_step_s(device, model, state.resident, lent_rows(whole, rows))


def _members_rate(
    device: Device, model: ModelCosts, stages: Sequence[Stage], lender: int, rows: int
) -> float:
    """Rows per second of the busiest member."""
    busy: dict[int, float] = {}
    for s in stages:
        if s.node != lender:
            step_s = device.forward_s(model.layout, s.first, s.stop, rows)
            busy[s.node] = busy.get(s.node, 0.0) + step_s
    return rows / max(busy.values())


def _exits(stages: Sequence[Stage], lender: int) -> int:
    return sum(s.node == lender for s in stages[:-1])


def lend_decode(
    device: Device,
    model: ModelCosts,
    link: Link,
    stages: Sequence[Stage],
    lender: int,
    sequences: int,
    slots: int,
) -> Lending:
    """Decide how many of `sequences` to decode in the pipeline `stages` rather than at the lender alone.

    The lender has KV room for `slots` whole sequences; a lent one takes only the lent share of a slot. A
    pipeline has two lanes that take turns at the lender, and a lane waits for its members and both hops.
    """
    borrowed = [s for s in stages if s.node == lender]
    share = sum(model.kv_of(s.first, s.stop) for s in borrowed) / model.kv_nbytes
    fitting = min(sequences, slots)
    alone = fitting / lender_step_s(device, model, fitting, {}) if fitting else 0.0
    best = Lending(0, alone, alone, 1.0, "no gain")
    for lane in _lanes(sequences):
        resident = min(sequences - 2 * lane, int(slots - 2 * lane * share))
        if resident < 0:
            break
        step_s = lender_step_s(device, model, resident, lent_rows([borrowed], lane))
        member_s = lane / _members_rate(device, model, stages, lender, lane)
        hops_s = len(stages) * link.seconds(lane * model.row_nbytes)
        rate = resident / step_s + 2 * lane / max(2 * step_s, step_s + member_s + hops_s)
        slow = slowdown(device, model, resident, [borrowed], lane)
        if slow <= MAX_SLOWDOWN and rate > max(best.rate, MARGIN * alone):
            best = Lending(lane, rate, alone, slow, "lend")
    return best


def _lanes(sequences: int) -> list[int]:
    """Some sizes of a lane: sixteenths of what two lanes could hold."""
    half = sequences // 2
    return sorted({half * i // 16 for i in range(1, 17)} - {0})
