"""Choosing the next token: greedy, or a draw keyed by (seed, request, position) and nothing else.

The distribution is that of `transformers` generate (its own warpers, in its order) and the draw is what
generate would make right after `torch.manual_seed(draw_key(...))`: the batch, the node and the time of a
draw cannot change it.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import (
    LogitsProcessorList,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from lambdascale.engine.base import Pick
from lambdascale.workload.request import Sampling

_MASK = (1 << 64) - 1


def draw_key(seed: int, request: int, position: int) -> int:
    """Return the 63-bit key of one draw.

    >>> draw_key(0, 1, 2) == draw_key(0, 1, 2) != draw_key(0, 2, 1)
    True
    """
    key = 0
    for number in (seed, request, position):
        key = _splitmix(key ^ (number & _MASK))
    return key >> 1


def choose(logits: Tensor, picks: Sequence[Pick]) -> list[int]:
    """Choose one token for each row of `logits` [rows, vocabulary]."""
    logits = logits.float()  # as generate does; argmax of 16-bit numbers is also ten times slower
    tokens: list[int] = logits.argmax(-1).tolist()
    drawn = [i for i, pick in enumerate(picks) if pick.sampling.temperature > 0]
    for i in drawn:
        pick = picks[i]
        key = draw_key(pick.sampling.seed, pick.request, pick.position)
        probabilities = _distribution(logits[i : i + 1], pick.sampling)
        generator = torch.Generator().manual_seed(key)
        tokens[i] = int(torch.multinomial(probabilities, 1, generator=generator))
    return tokens


def _distribution(logits: Tensor, sampling: Sampling) -> Tensor:
    """Probabilities [1, vocabulary] in the arithmetic of generate."""
    warpers = LogitsProcessorList()
    if sampling.temperature != 1:
        warpers.append(TemperatureLogitsWarper(sampling.temperature))
    if sampling.top_k:
        warpers.append(TopKLogitsWarper(sampling.top_k))
    if sampling.top_p < 1:
        warpers.append(TopPLogitsWarper(sampling.top_p))
    ignored = torch.empty((1, 0), dtype=torch.long)
    return torch.softmax(warpers(ignored, logits), dim=-1)


def _splitmix(state: int) -> int:
    """The finaliser of SplitMix64 (Steele, Lea and Flood 2014), a bijection that scatters every bit."""
    state = (state + 0x9E3779B97F4A7C15) & _MASK
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
    return state ^ (state >> 31)
