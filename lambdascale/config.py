"""What a system is and what it is asked to do, as frozen values. Baselines are data, not branches."""

from dataclasses import dataclass

from lambdascale.errors import ConfigError

KV_SWITCHES = ("cost", "recompute", "transfer")
SOURCES = ("gpu", "host", "ssd")


@dataclass(frozen=True, slots=True)
class SystemSpec:
    """λScale, its variants and every baseline are values of this type.

    `window` is the number of block writes a node keeps in flight. With `barrier` a tick starts only
    when the sub-group's previous tick is over, as in the paper's system. `sources` are the tiers from
    which a copy may go to other nodes (none: every node loads for itself). `shifted_loads`: nodes that
    load from their own tiers start at different blocks. `demote`: what leaves a GPU goes to host memory.
    `kv_switch`: how KV entries follow a request at a mode switch. `max_queue`: requests of a model that
    may wait before new ones are refused.
    """

    name: str = "lambdascale"
    algorithm: str = "kway"
    order: str | None = None
    execute_while_load: bool = True
    barrier: bool = False
    window: int = 2
    sources: tuple[str, ...] = SOURCES
    shifted_loads: bool = True
    gpu_keep_alive_s: float = 15.0
    host_keep_alive_s: float = 15.0
    demote: bool = True
    kv_switch: str = "cost"
    max_queue: int | None = None

    def __post_init__(self) -> None:
        if self.window < 1:
            raise ConfigError(f"window is {self.window}; at least one write must be in flight")
        if self.kv_switch not in KV_SWITCHES:
            raise ConfigError(
                f"kv_switch {self.kv_switch!r} is unknown; use one of {', '.join(KV_SWITCHES)}"
            )
        for source in self.sources:
            if source not in SOURCES:
                raise ConfigError(f"source {source!r} is unknown; use some of {', '.join(SOURCES)}")
        for name in ("gpu_keep_alive_s", "host_keep_alive_s"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; give seconds, 0 or more")


@dataclass(frozen=True, slots=True)
class ScaleSpec:
    """One scale-out from `num_sources` to `num_nodes` nodes, the model cut into `num_blocks` blocks.

    `max_slots` sequences of at most `max_length` tokens fit on a node; a step carries at most
    `max_step_tokens`. `timeout_s` bounds the whole run.
    """

    num_sources: int
    num_nodes: int
    num_blocks: int = 16
    max_slots: int = 8
    max_length: int = 512
    max_step_tokens: int = 64
    timeout_s: float = 600.0

    def __post_init__(self) -> None:
        for name in ("max_slots", "max_length", "max_step_tokens"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if self.timeout_s <= 0:
            raise ConfigError(f"timeout_s is {self.timeout_s}; it must be positive")

    @property
    def destinations(self) -> range:
        return range(self.num_sources, self.num_nodes)
