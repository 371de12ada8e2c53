"""Attention over the ragged KV cache, registered with `transformers` as an attention function.

One-token chunks are answered together by two batched products, the query heads of a GQA group standing
in as query positions, so that keys and values are never repeated. Longer chunks go one by one through
`scaled_dot_product_attention`. The step's plan arrives as the keyword argument `ragged`.
"""

from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional
from transformers import AttentionInterface

from lambdascale.engine.plan import Decode, Prefill, StepPlan

RAGGED = "lambdascale_ragged"


class AttentionModule(Protocol):
    """The part of a `transformers` attention module that is needed here."""

    layer_idx: int


def register() -> None:
    """Make the function known to `transformers` under the name `RAGGED`."""
    AttentionInterface.register(RAGGED, ragged_attention)


def ragged_attention(
    module: AttentionModule,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    ragged: StepPlan,
    scaling: float,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    **unused: object,
) -> tuple[Tensor, None]:
    """Store the step's keys and values, then attend: query [1, heads, T, dim] → [1, T, heads, dim]."""
    keys = ragged.cache.keys[module.layer_idx]
    values = ragged.cache.values[module.layer_idx]
    _store(keys, ragged.cells, key)
    _store(values, ragged.cells, value)
    rows = query[0].transpose(0, 1)
    decode = ragged.decode
    if decode is not None and decode.rows is None:
        return _attend_decode(rows, keys, values, decode, scaling, sliding_window)[None], None
    out = query.new_empty(rows.shape)
    if decode is not None:
        found = _attend_decode(rows, keys, values, decode, scaling, sliding_window)
        out.index_copy_(0, decode.chunk_rows, found)
    for chunk in ragged.prefills:
        part = slice(chunk.row, chunk.row + chunk.length)
        found = _attend_prefill(query[:, :, part], keys, values, chunk, scaling, sliding_window)
        out[part] = found[0].transpose(0, 1)
    return out[None], None


def _store(cache: Tensor, cells: Tensor, new: Tensor) -> None:
    """Write `new` [1, kv_heads, T, dim] into its cells."""
    dim = new.shape[-1]
    cache.view(-1, dim).index_copy_(0, cells, new[0].transpose(0, 1).reshape(-1, dim))


def _attend_decode(
    rows: Tensor, keys: Tensor, values: Tensor, decode: Decode, scaling: float, window: int | None
) -> Tensor:
    """One query per sequence: rows [T, heads, dim] → [chunks, heads, dim] in the order of the chunks."""
    query = rows if decode.rows is None else rows.index_select(0, decode.rows)
    entries, heads, dim = query.shape
    kv_heads, low = keys.shape[1], decode.low(window)
    query = query.reshape(entries * kv_heads, heads // kv_heads, dim)
    seen = slice(low, decode.longest)
    # the first product is slower on a strided operand than on a fresh copy, the second is not
    key = _gather(keys, decode.slots, seen).contiguous().flatten(0, 1)
    value = _gather(values, decode.slots, seen).flatten(0, 1)
    scores = torch.bmm(query, key.transpose(1, 2)).mul_(scaling)
    scores.view(entries, kv_heads, -1, scores.shape[-1]).add_(decode.mask(window, query))
    out = torch.bmm(torch.softmax(scores, -1), value).view(entries, heads, dim)
    return out if decode.entries is None else out.index_select(0, decode.entries)


def _gather(cache: Tensor, slots: slice | Tensor, seen: slice) -> Tensor:
    """Positions `seen` of `slots` as [entries, kv_heads, positions, dim]; a view if `slots` is a range."""
    part = cache[:, :, seen]
    return part[slots] if isinstance(slots, slice) else part.index_select(0, slots)


def _attend_prefill(
    query: Tensor, keys: Tensor, values: Tensor, chunk: Prefill, scaling: float, window: int | None
) -> Tensor:
    """All tokens of one chunk: query [1, heads, length, dim] → the same shape."""
    seen = slice(chunk.low(window), chunk.stop)
    plain = chunk.plain(window)
    return functional.scaled_dot_product_attention(
        query,
        keys[chunk.slot, None, :, seen],
        values[chunk.slot, None, :, seen],
        attn_mask=None if plain else chunk.mask(window, query),
        is_causal=plain,
        scale=scaling,
        enable_gqa=query.shape[1] != keys.shape[1],
    )
