"""What plain `transformers` generates for the same requests on the same weights, one request at a time."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, GenerationConfig, LogitsProcessorList
from transformers.utils.logging import disable_progress_bar

from lambdascale.engine.sampling import draw_key
from lambdascale.experiments.inputs import load_inputs
from lambdascale.experiments.spec import RunSpec
from lambdascale.experiments.trace_run import load_workload
from lambdascale.experiments.trace_spec import TraceSpec
from lambdascale.model.catalogue import load_packed
from lambdascale.workload.request import Request
from lambdascale.workload.trace import TraceRow


def reference_outputs(spec: RunSpec) -> dict[int, tuple[int, ...]]:
    """Return the output token ids of `generate` for each request of `spec`, by request.

    Sampled requests are seeded before each token with the key that belongs to it.
    """
    return generated(spec.model, spec.dtype, load_inputs(spec).requests)


def replayed_outputs(spec: TraceSpec, rows: Sequence[TraceRow]) -> dict[int, tuple[int, ...]]:
    """Return the same for the requests that `rows` are replayed as."""
    requests = load_workload(spec, rows).requests
    outputs: dict[int, tuple[int, ...]] = {}
    for model in spec.models:
        outputs |= generated(model, spec.dtype, [r for r in requests if r.model == model])
    return outputs


def generated(name: str, dtype: str, requests: Sequence[Request]) -> dict[int, tuple[int, ...]]:
    """Return the same for requests of one model."""
    disable_progress_bar()
    folder = load_packed(name, dtype).folder
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype))
    model.generation_config = GenerationConfig(pad_token_id=0)
    model.eval()
    with _one_thread():
        return {request.id: generate(model, request) for request in requests}


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute on one thread as the engine does: on a shared core, a second one mostly waits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def generate(model: Any, request: Request) -> tuple[int, ...]:
    """Return what `generate` of a causal language model of `transformers` answers to one request."""
    sampling = request.sampling
    drawn = {"temperature": sampling.temperature, "top_k": sampling.top_k, "top_p": sampling.top_p}
    prompt = torch.tensor([request.prompt])
    with torch.random.fork_rng():
        output = model.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            max_new_tokens=request.max_tokens,
            eos_token_id=list(request.stop) or None,
            logits_processor=LogitsProcessorList([_Keyed(request)]),
            do_sample=bool(sampling.temperature),
            **(drawn if sampling.temperature else {}),
        )
    return tuple(output[0, len(request.prompt) :].tolist())


def agreement(ours: Mapping[int, Sequence[int]], reference: Mapping[int, Sequence[int]]) -> float:
    """Return the share of positions at which two runs have the same token (for bfloat16).

    >>> agreement({0: (1, 2)}, {0: (1, 3, 3)})
    0.3333333333333333
    """
    pairs = [(tuple(ours.get(request, ())), tuple(ids)) for request, ids in reference.items()]
    total = sum(max(len(a), len(b)) for a, b in pairs)
    return sum(x == y for a, b in pairs for x, y in zip(a, b, strict=False)) / max(1, total)


class _Keyed:
    """Seeds the generator before each draw, as the engine does; leaves the scores alone."""

    def __init__(self, request: Request) -> None:
        self._request = request

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        position = input_ids.shape[1] - len(self._request.prompt)
        torch.manual_seed(draw_key(self._request.sampling.seed, self._request.draw_id, position))
        return scores
