"""From a specification to what the controller needs: the packed model, block checksums, requests.

What can be checked before a model is fetched or an agent started is checked before.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lambdascale.cluster.controller import ImageSource
from lambdascale.errors import ConfigError
from lambdascale.experiments.spec import RunSpec
from lambdascale.model.catalogue import load_packed
from lambdascale.model.checksum import block_checksums
from lambdascale.model.packed import PackedModel
from lambdascale.multicast.plan import plan
from lambdascale.transport.registry import TRANSPORTS
from lambdascale.units import MIB
from lambdascale.workload.request import Request

if TYPE_CHECKING:
    from lambdascale.model.text import Tokenizer


@dataclass(frozen=True, slots=True)
class Inputs:
    """The model as agents are told of it, and the requests to serve."""

    image: ImageSource
    requests: tuple[Request, ...]


def check(spec: RunSpec) -> None:
    """Refuse what cannot work before anything is fetched or started; raises ConfigError."""
    scale, system = spec.scale, spec.system
    plan(system.algorithm, scale.num_nodes, scale.num_sources, scale.num_blocks, system.order)
    if spec.clock == "real" and spec.transport not in TRANSPORTS:
        known = ", ".join(TRANSPORTS)
        raise ConfigError(f"transport {spec.transport!r} is unknown; use one of {known}")


def load_model(spec: RunSpec) -> PackedModel:
    """Return the packed model of `spec`, fetching it if need be; ConfigError if it needs more memory
    than this machine has."""
    packed = load_packed(spec.model, spec.dtype)
    scale, shape = spec.scale, packed.shape
    length = min(scale.max_length, shape.context_length)
    kv_nbytes = scale.max_slots * length * shape.kv_bytes_per_token(spec.dtype)
    need, memory = scale.num_nodes * (packed.layout.nbytes + kv_nbytes), _memory_nbytes()
    if need > memory:
        raise ConfigError(
            f"{scale.num_nodes} nodes of {spec.model} with {scale.max_slots} sequences of {length} "
            f"tokens each need {need // MIB} MiB, but this machine has {memory // MIB} MiB; "
            "lower nodes, slots or max_length"
        )
    return packed


def _memory_nbytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def load_inputs(
    spec: RunSpec, packed: PackedModel | None = None, tokenizer: "Tokenizer | None" = None
) -> Inputs:
    """Tokenise the prompts of `spec` as chats, for a model loaded now unless it is given."""
    from lambdascale.model.text import Tokenizer  # slow to import

    check(spec)
    packed = packed or load_model(spec)
    checksums = block_checksums(packed, spec.scale.num_blocks)
    image = ImageSource(str(packed.image), packed.config, packed.layout, checksums)
    tokenizer = tokenizer or Tokenizer(packed)
    prompts = [tokenizer.encode_chat(prompt) for prompt in spec.prompts]
    return Inputs(
        image, make_requests(spec, prompts, packed.shape.context_length, tokenizer.stop_ids)
    )


def make_requests(
    spec: RunSpec, prompts: Sequence[tuple[int, ...]], context: int, stop: tuple[int, ...]
) -> tuple[Request, ...]:
    """Make one request per tokenised prompt; ConfigError if one cannot fit."""
    limit = min(context, spec.scale.max_length)
    for number, prompt in enumerate(prompts):
        if len(prompt) + spec.max_tokens > limit:
            raise ConfigError(
                f"prompt {number} has {len(prompt)} tokens and asks for {spec.max_tokens} more, but "
                f"{limit} fit (the model's context is {context}, max_length {spec.scale.max_length}); "
                "shorten it, or lower max_tokens"
            )
    return tuple(
        Request(i, prompt, spec.max_tokens, spec.sampling, stop) for i, prompt in enumerate(prompts)
    )
