"""From a specification to what the controller needs: the packed model, block checksums, requests.

What can be checked before a model is fetched or an agent started is checked before.
"""

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lambdascale.cluster.activation import slot_nbytes
from lambdascale.cluster.tags import MAX_VALUE
from lambdascale.engine.base import EngineLimits
from lambdascale.errors import ConfigError
from lambdascale.experiments.spec import RunSpec
from lambdascale.model.catalogue import load_packed
from lambdascale.model.checksum import block_checksums
from lambdascale.model.image import ImageSource
from lambdascale.model.layout import ALIGNMENT, DTYPE_BYTES, ImageLayout
from lambdascale.model.packed import PackedModel
from lambdascale.model.shape import ModelShape
from lambdascale.multicast.plan import plan
from lambdascale.storage.arena import whole_pages
from lambdascale.transport.registry import body_of
from lambdascale.units import MIB
from lambdascale.workload.request import Request, check_ids

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
    if scale.num_blocks > MAX_VALUE:
        raise ConfigError(
            f"blocks is {scale.num_blocks}; at most {MAX_VALUE} have a number in a notice (24 bits)"
        )
    plan(system.algorithm, scale.num_nodes, scale.num_sources, scale.num_blocks, system.order)
    if spec.clock == "real":
        body_of(spec.transport)


def check_inputs(spec: RunSpec, inputs: Inputs) -> None:
    """Refuse a model or requests that `spec` cannot serve, wherever they come from; raises ConfigError."""
    check(spec)
    image, num_blocks = inputs.image, spec.scale.num_blocks
    check_blocks(spec, image.layout)
    if len(image.checksums) != num_blocks:
        raise ConfigError(
            f"the inputs have checksums of {len(image.checksums)} blocks, but blocks is {num_blocks}; "
            "make them for the same specification"
        )
    check_requests(spec, image.shape, inputs.requests)


def check_blocks(spec: RunSpec, layout: ImageLayout) -> None:
    """Raise ConfigError if there are more blocks than lines to put into them."""
    lines = -(-layout.nbytes // ALIGNMENT)
    if spec.scale.num_blocks > lines:
        raise ConfigError(
            f"blocks is {spec.scale.num_blocks}; the image of {layout.model} has {lines} lines of "
            f"{ALIGNMENT} bytes, and a block needs at least one"
        )


def check_requests(spec: RunSpec, shape: ModelShape, requests: Sequence[Request]) -> None:
    """Raise ConfigError if ids repeat, a request does not fit, or a token is none of the model's."""
    check_ids(requests)
    for request in requests:
        _check_length(spec, shape.context_length, request)
        _check_tokens(shape.vocab, request)


def _check_length(spec: RunSpec, context: int, request: Request) -> None:
    limit, length = min(context, spec.scale.max_length), len(request.prompt)
    if length + request.max_tokens > limit:
        raise ConfigError(
            f"prompt {request.id} has {length} tokens and asks for {request.max_tokens} more, but "
            f"{limit} fit (the model's context is {context}, max_length {spec.scale.max_length}); "
            "shorten it, or lower max_tokens"
        )


def _check_tokens(vocab: int, request: Request) -> None:
    low, high = min(request.prompt), max(request.prompt)
    if low < 0 or high >= vocab:
        raise ConfigError(
            f"prompt {request.id} has token {low if low < 0 else high}, but the model's vocabulary is "
            f"0 to {vocab - 1}; use the model's own tokenizer"
        )


def load_model(spec: RunSpec) -> PackedModel:
    """Return the packed model of `spec`, fetching it if need be; ConfigError if it cannot be cut into so
    many blocks or its nodes need more memory than this machine, if they are here, has."""
    packed = load_packed(spec.model, spec.dtype)
    check_blocks(spec, packed.layout)
    scale = spec.scale
    if spec.cluster:
        return packed
    check_memory(
        scale.num_nodes * node_nbytes(spec, packed),
        f"{scale.num_nodes} nodes of {spec.model} with {scale.max_slots} sequences of "
        f"{_max_length(spec, packed.shape)} tokens each",
        "lower nodes, slots or max_length",
    )
    return packed


def check_memory(need: int, what: str, remedy: str) -> None:
    """Raise ConfigError if `what` needs more bytes than this machine has."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if need > memory:
        raise ConfigError(
            f"{what} need {need // MIB} MiB, but this machine has {memory // MIB} MiB; {remedy}"
        )


def node_nbytes(spec: RunSpec, packed: PackedModel) -> int:
    """Bytes that a node allocates: room for the image, and what it works with."""
    scale, shape = spec.scale, packed.shape
    limits = EngineLimits(scale.max_slots, _max_length(spec, shape), scale.max_step_tokens)
    work = working_nbytes([(limits, packed.layout, shape)], scale.num_nodes)
    return whole_pages(packed.layout.nbytes) + work


def working_nbytes(
    models: Collection[tuple[EngineLimits, ImageLayout, ModelShape]], num_lanes: int
) -> int:
    """Bytes of keys and values, inbox and outbox of a node that may serve any of `models`."""
    kv = max(
        limits.max_slots * limits.max_length * shape.kv_bytes_per_token(layout.dtype)
        for limits, layout, shape in models
    )
    return kv + 2 * num_lanes * max(_slot_nbytes(*model) for model in models)


def _slot_nbytes(limits: EngineLimits, layout: ImageLayout, shape: ModelShape) -> int:
    width = DTYPE_BYTES[layout.dtype]
    final = shape.hidden if shape.tied else shape.vocab
    return slot_nbytes(limits, layout.num_parts, shape.hidden * width, final * width)


def _max_length(spec: RunSpec, shape: ModelShape) -> int:
    return min(spec.scale.max_length, shape.context_length)


def load_inputs(
    spec: RunSpec, packed: PackedModel | None = None, tokenizer: "Tokenizer | None" = None
) -> Inputs:
    """Tokenise the prompts of `spec` as chats, for a model loaded now unless it is given."""
    from lambdascale.model.text import Tokenizer  # slow to import

    check(spec)
    packed = packed or load_model(spec)
    checksums = block_checksums(packed, spec.scale.num_blocks)
    image = ImageSource.of(packed, checksums)
    tokenizer = tokenizer or Tokenizer(packed)
    prompts = [tokenizer.encode_chat(prompt) for prompt in spec.prompts]
    return Inputs(image, make_requests(spec, prompts, packed.shape, tokenizer.stop_ids))


def make_requests(
    spec: RunSpec, prompts: Sequence[tuple[int, ...]], shape: ModelShape, stop: tuple[int, ...]
) -> tuple[Request, ...]:
    """Make one request per tokenised prompt; ConfigError if one cannot fit."""
    requests = tuple(
        Request(i, prompt, spec.max_tokens, spec.sampling, stop) for i, prompt in enumerate(prompts)
    )
    check_requests(spec, shape, requests)
    return requests
