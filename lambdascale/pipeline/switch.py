"""Mode switch: rebuild the KV cache of a request, or fetch it? By cost (paper.md c.8).

    recompute   one forward pass over the tokens, up to the last part whose KV is missing
    transfer    the missing KV over the link: latency + bytes ÷ rate

Recomputing has a floor (the weights are read once) and then grows with the tokens, so it is convex in
them, and transfer is a straight line: recomputing is sooner for one range of lengths, if for any. The
quadratic share of attention is not in the device model; it would only make recomputing dearer.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from lambdascale.errors import ConfigError
from lambdascale.pipeline.costs import MARGIN, Device, Link, ModelCosts


class Method(StrEnum):
    """How a request gets its KV cache on another node."""

    RECOMPUTE = "recompute"
    TRANSFER = "transfer"


@dataclass(frozen=True, slots=True)
class SwitchDecision:
    """Seconds of both ways; `method` is the sooner one (recomputing if equal: it loads no link)."""

    recompute_s: float
    transfer_s: float

    @property
    def method(self) -> Method:
        return Method.RECOMPUTE if self.recompute_s <= self.transfer_s else Method.TRANSFER

    @property
    def seconds(self) -> float:
        return min(self.recompute_s, self.transfer_s)


def switch_decision(
    tokens: int,
    model: ModelCosts,
    device: Device,
    link: Link,
    first: int = 0,
    stop: int | None = None,
) -> SwitchDecision:
    """Weigh both ways for `tokens` tokens in all, whose KV of parts [first, stop) is missing (None: all).

    `link` is what weights leave of it. ConfigError unless there is at least one token and part.
    """
    last = model.layout.num_parts - 1  # the norm and the head leave no KV
    end = last if stop is None else min(stop, last)
    if tokens < 1 or not 0 <= first < end:
        raise ConfigError(
            f"tokens is {tokens} and parts [{first}, {end}); name at least one token and one layer"
        )
    recompute_s = device.forward_s(model.layout, 0, end, tokens)
    return SwitchDecision(recompute_s, link.seconds(tokens * model.kv_of(first, end)))


@dataclass(frozen=True, slots=True)
class BoundaryMove:
    """Whether decodes in flight move their boundary; seconds gained over their rest, and the pause."""

    move: bool
    gain_s: float
    pause: SwitchDecision


def move_boundary(
    before_s: float,
    after_s: float,
    remaining_tokens: int,
    context_tokens: int,
    model: ModelCosts,
    device: Device,
    spare: Link,
    moved: range,
) -> BoundaryMove:
    """Weigh a faster token (`before_s` → `after_s`) against the pause to bring the KV of parts `moved`.

    `remaining_tokens` per sequence, `context_tokens` of all sequences together. The KV comes from the
    lender over `spare`, what weights leave of its egress, or is recomputed.
    """
    pause = switch_decision(context_tokens, model, device, spare, moved.start, moved.stop)
    gain_s = (before_s - after_s) * remaining_tokens
    return BoundaryMove(gain_s > MARGIN * pause.seconds, gain_s, pause)


def recompute_lengths(
    model: ModelCosts, device: Device, link: Link, max_tokens: int = 1 << 17
) -> range:
    """Return the lengths up to `max_tokens` for which recomputing is at least as soon as transfer.

    Its ends are the crossover lengths. Empty: transfer is always sooner.
    """

    def excess(tokens: int) -> float:
        decision = switch_decision(tokens, model, device, link)
        return decision.recompute_s - decision.transfer_s

    least = _lowest(excess, 1, max_tokens)
    if excess(least) > 0:
        return range(0)
    first = _first(lambda t: excess(t) <= 0, 1, least)
    beyond = _first(lambda t: excess(t) > 0, least, max_tokens + 1)
    return range(first, beyond)


def _lowest(convex: Callable[[int], float], low: int, high: int) -> int:
    """Where a convex function is least on low … high."""
    while low < high:
        middle = (low + high) // 2
        if convex(middle) <= convex(middle + 1):
            high = middle
        else:
            low = middle + 1
    return low


def _first(holds: Callable[[int], bool], low: int, high: int) -> int:
    """The first number of low … high − 1 for which a monotone predicate holds; `high` if none."""
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle + 1, high)
    return low
