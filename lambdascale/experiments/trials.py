"""The trials that are run on real processes and under the virtual clock to see how far to trust the latter.

Those with at most 4 nodes, 16 blocks and 2 sources are *in sample*: the simulator is calibrated on them.
Only the others are scored. A trial without requests is a multicast; one with requests serves a backlog
meanwhile. Pure values.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from lambdascale.config import ScaleSpec, SystemSpec
from lambdascale.engine.device import DeviceModel
from lambdascale.errors import ConfigError
from lambdascale.experiments.spec import RunSpec
from lambdascale.model.layout import DTYPE_BYTES
from lambdascale.model.packed import PackedModel
from lambdascale.workload.request import Request

IN_SAMPLE_NODES, IN_SAMPLE_BLOCKS, IN_SAMPLE_SOURCES = 4, 16, 2
RANKED = (2, 8, 16)  # sources, nodes, blocks of the trial by which systems are ranked
MAX_SLOTS, MAX_LENGTH = 4, 64
PROMPT_TOKENS, OUTPUT_TOKENS = 8, 8
REQUESTS_PER_NODE = 6
KNEE_TOKENS = 16  # as many take no longer than one


@dataclass(frozen=True, slots=True)
class Trial:
    """k → N nodes, b blocks, by one multicast algorithm; with or without a backlog of requests."""

    num_nodes: int
    num_sources: int
    num_blocks: int
    serves: bool = False
    algorithm: str = "kway"
    execute_while_load: bool = True
    transport: str = "shm"

    @property
    def in_sample(self) -> bool:
        """May the simulator be calibrated on it?"""
        return (
            self.num_nodes <= IN_SAMPLE_NODES
            and self.num_blocks <= IN_SAMPLE_BLOCKS
            and self.num_sources <= IN_SAMPLE_SOURCES
        )

    @property
    def system(self) -> str:
        """Its name among those that are ranked."""
        return self.algorithm if self.execute_while_load else f"{self.algorithm}, load first"

    @property
    def label(self) -> str:
        """A name of its own."""
        what = "serving" if self.serves else "multicast"
        shape = f"{self.num_sources} → {self.num_nodes}, {self.num_blocks} blocks"
        return f"{what} {shape} by {self.system} over {self.transport}"


@dataclass(frozen=True, slots=True)
class Imposed:
    """What is imposed on every node: links that take `copy_s` for the model, steps of at least `step_s`."""

    packed: PackedModel
    copy_s: float
    step_s: float

    def __post_init__(self) -> None:
        for name in ("copy_s", "step_s"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; give seconds, more than 0")

    @property
    def device(self) -> DeviceModel:
        """A device whose decode step takes `step_s`, and one of more than KNEE_TOKENS longer."""
        layout = self.packed.layout
        bandwidth = layout.nbytes / self.step_s
        flops = 2 * KNEE_TOKENS * bandwidth / DTYPE_BYTES[layout.dtype]
        return DeviceModel(bandwidth, flops)

    @property
    def link_gbps(self) -> float:
        """The rate of a link in each direction."""
        return self.packed.layout.nbytes * 8 / self.copy_s / 1e9

    def spec(self, trial: Trial) -> RunSpec:
        """Return what is run on real processes."""
        return RunSpec(
            model=str(self.packed.folder),
            dtype=self.packed.layout.dtype,
            system=SystemSpec(
                name=trial.system,
                algorithm=trial.algorithm,
                execute_while_load=trial.execute_while_load,
            ),
            scale=ScaleSpec(
                trial.num_sources,
                trial.num_nodes,
                trial.num_blocks,
                max_slots=MAX_SLOTS,
                max_length=MAX_LENGTH,
            ),
            transport=trial.transport,
            link_gbps=self.link_gbps,
            device=self.device,
            label=trial.label,
        )


def backlog(trial: Trial, vocab: int) -> tuple[Request, ...]:
    """Return the requests of a trial, all there at the start: more than its sources can take at once."""
    count = REQUESTS_PER_NODE * trial.num_nodes if trial.serves else 0
    return tuple(
        Request(i, tuple((41 * i + 7 * j) % vocab for j in range(PROMPT_TOKENS)), OUTPUT_TOKENS)
        for i in range(count)
    )


def _grid(shapes: Iterable[tuple[int, int, int]], serves: bool) -> tuple[Trial, ...]:
    return tuple(Trial(*shape, serves=serves) for shape in shapes)


def _ranked(algorithms: Iterable[str]) -> tuple[Trial, ...]:
    """The systems that are ranked, each with and without execute-while-load."""
    sources, nodes, blocks = RANKED
    return tuple(
        Trial(nodes, sources, blocks, True, algorithm, executes)
        for algorithm in algorithms
        for executes in (True, False)
    )


PROFILES = {
    "quick": (
        *_grid([(2, 1, 8), (4, 1, 16), (5, 1, 16), (6, 2, 32), (8, 1, 16)], False),
        *_grid([(4, 2, 16), (6, 2, 16)], True),
        *_ranked(("kway",)),
    ),
    "full": (
        *_grid([(2, 1, 8), (3, 1, 4), (3, 1, 16), (3, 2, 8), (4, 1, 8), (4, 1, 16), (4, 2, 16)], False),
        Trial(4, 1, 16, algorithm="circulant"),
        Trial(4, 1, 8, transport="tcp"),
        *_grid([(4, 1, 32), (5, 1, 16), (5, 2, 32), (6, 2, 16), (6, 4, 8), (7, 1, 8)], False),
        *_grid([(8, 1, 4), (8, 1, 16), (8, 1, 32), (8, 2, 32), (8, 4, 16)], False),
        Trial(6, 1, 16, algorithm="circulant"),
        Trial(8, 1, 32, algorithm="circulant"),
        Trial(5, 2, 16, transport="tcp"),
        Trial(8, 1, 16, transport="tcp"),
        *_grid([(2, 1, 8), (3, 1, 16), (4, 1, 8), (4, 2, 16)], True),
        *_grid([(4, 2, 32), (6, 2, 16), (7, 1, 32), (8, 2, 32), (8, 4, 16)], True),
        *_ranked(("kway", "circulant", "chain", "tree", "star")),
    ),
}  # fmt: skip


def trials_of(profile: str) -> tuple[Trial, ...]:
    """Return the trials of a profile; ConfigError if there is none of that name."""
    if profile not in PROFILES:
        raise ConfigError(f"profile {profile!r} is unknown; use one of {', '.join(PROFILES)}")
    return PROFILES[profile]
