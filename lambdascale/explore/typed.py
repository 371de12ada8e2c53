"""A scale-out in which a typed prompt meets nodes that are still being loaded, because the sources are busy.

As many other prompts as the sources have slots come first, and last until the nodes to come hold the model
together. Nodes emulate devices of a given pace, so that little depends on the machine.
"""

import math
from dataclasses import dataclass, replace

from lambdascale.config import ScaleSpec
from lambdascale.errors import ConfigError
from lambdascale.experiments.floor import Point, device_through
from lambdascale.experiments.inputs import Inputs, load_inputs, load_model
from lambdascale.experiments.prompts import questions
from lambdascale.experiments.simulated import symbolic_inputs
from lambdascale.experiments.spec import RunSpec
from lambdascale.model.packed import PackedModel
from lambdascale.model.text import Tokenizer
from lambdascale.workload.request import Request

NUM_BLOCKS = 16
PREFILL_TOKENS, PREFILL_STEPS = 64, 2  # a prompt of so many tokens takes as long as so many steps
BUSY_SHARE = 0.25  # of the load, after the moment when the receivers could hold the model together


@dataclass(frozen=True, slots=True)
class Stage:
    """What every prompt is served by: a model, and a specification that lacks the prompt."""

    spec: RunSpec
    step_s: float
    packed: PackedModel
    tokenizer: Tokenizer

    @classmethod
    def of(
        cls,
        model: str,
        num_sources: int,
        num_nodes: int,
        link_gbps: float,
        step_ms: float,
        max_tokens: int,
    ) -> "Stage":
        """Load the model; `step_ms` is what a decode step takes. Raises LambdaScaleError."""
        if not (step_ms > 0 and link_gbps > 0):
            raise ConfigError(f"step_ms is {step_ms} and link_gbps {link_gbps}; both are above 0")
        spec = RunSpec(
            model=model,
            scale=ScaleSpec(num_sources, num_nodes, NUM_BLOCKS, max_slots=1),
            max_tokens=max_tokens,
            link_gbps=link_gbps,
            label="your prompt",
        )
        packed = load_model(spec)
        device = device_through(packed.layout, *_steps(step_ms / 1e3))
        return cls(replace(spec, device=device), step_ms / 1e3, packed, Tokenizer(packed))

    def run_of(self, prompt: str) -> tuple[RunSpec, Inputs]:
        """Return the run that serves `prompt`, its last request; ConfigError if it cannot be served."""
        if not prompt.strip():
            raise ConfigError("the prompt is empty; type a question and press Enter")
        self._check_length(prompt)
        others = questions(self.spec.num_sources * self.spec.scale.max_slots)
        spec = replace(self.spec, prompts=(*others, prompt))
        inputs = self._inputs(spec)
        *first, last = inputs.requests
        return spec, Inputs(inputs.image, (*map(self._busy, first), last))

    def _inputs(self, spec: RunSpec) -> Inputs:
        if spec.clock == "virtual":
            return symbolic_inputs(spec)
        return load_inputs(spec, self.packed, self.tokenizer)

    def _check_length(self, prompt: str) -> None:
        length = len(self.tokenizer.encode_chat(prompt))
        most = self._longest - self.spec.max_tokens
        if length > most:
            raise ConfigError(
                f"the prompt has {length} tokens, but {most} fit beside an answer of "
                f"{self.spec.max_tokens}; shorten it"
            )

    def _busy(self, request: Request) -> Request:
        """The same prompt, answered until the receivers hold the model together, whatever is said."""
        load_s = self.packed.layout.nbytes / self.spec.rate
        busy_s = (1 / self.spec.num_sources + BUSY_SHARE) * load_s
        room, wanted = self._longest - len(request.prompt), math.ceil(busy_s / self.step_s)
        return replace(request, max_tokens=max(1, min(room, wanted)), stop=())

    @property
    def _longest(self) -> int:
        return min(self.spec.scale.max_length, self.packed.shape.context_length)


def _steps(step_s: float) -> tuple[Point, Point]:
    return Point(1, 1, step_s), Point(PREFILL_TOKENS, 1, PREFILL_STEPS * step_s)
