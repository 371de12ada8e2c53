"""From a specification to what the controller needs: the packed model, block checksums, requests."""

from collections.abc import Sequence
from dataclasses import dataclass

from lambdascale.cluster.controller import ImageSource
from lambdascale.errors import ConfigError
from lambdascale.experiments.spec import RunSpec
from lambdascale.model.catalogue import load_packed
from lambdascale.model.checksum import block_checksums
from lambdascale.model.text import Tokenizer
from lambdascale.multicast.plan import plan
from lambdascale.workload.request import Request


@dataclass(frozen=True, slots=True)
class Inputs:
    """The model as agents are told of it, and the requests to serve."""

    image: ImageSource
    requests: tuple[Request, ...]


def check(spec: RunSpec) -> None:
    """Refuse what cannot work before anything is fetched or started."""
    scale, system = spec.scale, spec.system
    plan(system.algorithm, scale.num_nodes, scale.num_sources, scale.num_blocks, system.order)


def load_inputs(spec: RunSpec) -> Inputs:
    """Load the model of `spec` (fetching it if need be) and tokenise its prompts as chats."""
    check(spec)
    packed = load_packed(spec.model, spec.dtype)
    checksums = block_checksums(packed, spec.scale.num_blocks)
    image = ImageSource(str(packed.image), packed.config, packed.layout, checksums)
    tokenizer = Tokenizer(packed)
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
