"""The engine as part of an experiment: how much an instance serves at once, and how long a step takes.

authors       one request in flight per GPU of a node; a step takes what the authors' stand-in for it does
continuous    as many sequences as have room for their KV entries; prompts in chunks; the device's roofline
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from lambdascale.engine.base import EngineLimits
from lambdascale.engine.device import DeviceModel
from lambdascale.errors import ConfigError
from lambdascale.model.packed import PackedModel
from lambdascale.sim.machines import Hardware
from lambdascale.sim.models import simulated_model
from lambdascale.units import from_gigabytes

DTYPE = "float16"  # of the paper's models
STEPS = 107  # of one request of the authors: its longest prompt and its output (paper.md 6.3)
AUTHORS_FLOPS = 4e14  # steps of few tokens wait for memory, not for this


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """At most `max_slots` KV slots in a node, and `in_flight` requests at once per GPU (None: all slots).

    A pipeline of several nodes has more requests in flight than one node, hence two numbers. A sequence has
    at most `max_length` tokens and a step `max_step_tokens`. Weights and KV entries may take `memory_share`
    of a node's GPUs. `step_s`: model → seconds of a decode step; none: the hardware's device. Raises
    ConfigError.
    """

    name: str
    max_slots: int
    max_length: int
    max_step_tokens: int
    in_flight: int | None = None
    memory_share: float = 0.9
    step_s: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("max_slots", "max_length", "max_step_tokens"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if self.in_flight is not None and not 1 <= self.in_flight <= self.max_slots:
            raise ConfigError(
                f"in_flight is {self.in_flight}; give 1 to max_slots ({self.max_slots}), or None for all"
            )
        if not 0 < self.memory_share <= 1:
            raise ConfigError(f"memory_share is {self.memory_share}; it is a share, in (0, 1]")
        for model, seconds in self.step_s.items():
            if not seconds > 0:
                raise ConfigError(f"step_s of {model} is {seconds}; give seconds, more than 0")

    def limits(self, model: str, hardware: Hardware, dtype: str = DTYPE) -> EngineLimits:
        """Return what a node has room for beside the weights; ConfigError if that is not one sequence."""
        packed = simulated_model(model, dtype)
        length = min(self.max_length, packed.shape.context_length)
        slots = min(self.max_slots, self._room(packed, hardware, length))
        if slots < 1:
            raise ConfigError(
                f"{model} leaves no room for {length} tokens of KV entries on {hardware.name}; lower "
                "max_length, or use more memory"
            )
        return EngineLimits(slots, length, self.max_step_tokens)

    def _room(self, packed: PackedModel, hardware: Hardware, length: int) -> int:
        """How many sequences of `length` tokens fit."""
        free = self.memory_share * from_gigabytes(hardware.gpu_gb) - packed.layout.nbytes
        return int(free // (length * packed.shape.kv_bytes_per_token(packed.layout.dtype)))

    def requests(self, model: str, hardware: Hardware, dtype: str = DTYPE) -> int:
        """Return how many requests a node serves at once."""
        slots = self.limits(model, hardware, dtype).max_slots
        return (
            slots if self.in_flight is None else min(slots, self.in_flight * hardware.gpus_per_node)
        )

    def device(self, model: str, hardware: Hardware, dtype: str = DTYPE) -> DeviceModel:
        """Return the device that takes `step_s` for a decode step of `model`, or the hardware's."""
        if not self.step_s:
            return hardware.device_of(model)
        original = model.partition("#")[0]
        if original not in self.step_s:
            known = ", ".join(self.step_s)
            raise ConfigError(f"engine {self.name} has no step_s for {model!r}; it has {known}")
        return device_of_step(simulated_model(model, dtype), self.step_s[original])


def device_of_step(packed: PackedModel, step_s: float) -> DeviceModel:
    """Return the device whose decode step of a model takes `step_s`, however many sequences."""
    layout = packed.layout
    read = layout.nbytes - layout.part_nbytes(0)  # the embedding is only looked up
    return DeviceModel(bandwidth=read / step_s, flops=AUTHORS_FLOPS)


AUTHORS = EngineSpec(
    name="authors",
    max_slots=24,  # in a pipeline of all GPUs that the authors could have
    max_length=256,
    max_step_tokens=256,
    in_flight=1,
    step_s={"llama-2-7b": 0.014, "llama-2-13b": 0.026, "llama-2-70b": 0.140},
)
CONTINUOUS = EngineSpec(name="continuous", max_slots=256, max_length=1024, max_step_tokens=512)
ENGINES = {each.name: each for each in (AUTHORS, CONTINUOUS)}
