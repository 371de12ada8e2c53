"""The symbolic engine: the device's cost model for the time, a hash chain for the result.

A row is 64 bits that depend on the tokens, their positions, the layers passed, what the image region
holds for each of them at that moment, and the KV entries actually present. So whatever would make a real
model's tokens wrong makes these wrong, and nothing else does: not the batch, the cut of the prompt into
chunks or of the layers into ranges, nor the node. Any range executes at any time; missing bytes or KV
entries raise nothing, they change the tokens.
"""

import asyncio
import contextlib
from bisect import bisect_left
from collections.abc import Callable, Sequence
from itertools import pairwise

from lambdascale.clock import now
from lambdascale.engine.base import (
    EngineLimits,
    Pick,
    Round,
    Rows,
    RowWidths,
    Step,
    StepCounts,
    check_regions,
)
from lambdascale.engine.device import DeviceModel
from lambdascale.errors import ConfigError, ModelError
from lambdascale.model.layout import ImageLayout
from lambdascale.sim.chain import HashChain
from lambdascale.sim.kv import SymbolicCache
from lambdascale.sim.kv_names import KvContents, KvNames
from lambdascale.sim.prepared import Prepared
from lambdascale.sim.symbolic_kv import SymbolicKv
from lambdascale.sim.turn import Turn
from lambdascale.transport.base import Region

Observe = Callable[[Step, float, float], None]  # what was executed, from when to when


def ignore(step: Step, begun_s: float, ended_s: float) -> None:
    """Observe nothing."""


class SymbolicEngine:
    """Implements `engine.base.Engine`, waiting on the clock of the running loop as `device` would.

    Rows are 8 bytes, or with `wide_rows` as long as the real model's, so that they take as long to send.
    Engines that exchange KV entries share their `contents`. `observe` is told of every step when it is over.
    """

    def __init__(
        self,
        device: DeviceModel,
        wide_rows: bool = False,
        contents: KvContents | None = None,
        observe: Observe = ignore,
    ) -> None:
        self._device = device
        self._wide_rows = wide_rows
        self._contents = contents or KvContents()
        self._observe = observe
        self._model: Prepared | None = None
        self._chain: HashChain | None = None
        self._turn = Turn()
        self._steps = 0

    @property
    def counts(self) -> StepCounts:
        """Virtual devices are never late."""
        return StepCounts(self._steps)

    @property
    def kv(self) -> SymbolicKv:
        return SymbolicKv(self._prepared().kv, self._attached, self._turn)

    @property
    def cache(self) -> SymbolicCache:
        """The KV entries, for tests that damage them."""
        return self._attached().cache

    async def prepare(self, layout: ImageLayout, config: str, limits: EngineLimits) -> RowWidths:
        """Read the sizes; ModelError for a model that the real engine could not run."""
        self._model = Prepared.of(layout, config, limits, self._wide_rows)
        self._chain = None
        return self._model.widths

    async def attach(
        self, image: Region, offset: int, kv: Region, parts: range | None = None
    ) -> None:
        """Stand ready over `image`, with no KV entries and no names in `kv`."""
        model = self._prepared()
        own = parts or range(model.layout.num_parts)
        check_regions(model.layout, own, image, offset, kv, model.kv.nbytes)
        async with self._turn:
            if self._chain is not None:
                raise ConfigError(f"{model.layout.model} is attached already; detach it first")
            names = KvNames(model.kv, kv, self._contents)
            self._chain = HashChain(model, image, offset, names)

    async def detach(self) -> None:
        async with self._turn:
            self._chain = None

    async def forward(self, step: Step) -> Rows:
        """Run `step`; ConfigError if it exceeds the limits of `prepare`."""
        async with self._turn:
            chain = self._attached()
            chain.check(step)
            rows = chain.forward(step)
            begun_s = now()
            await asyncio.sleep(self._forward_s(step, step.num_attended))
            self._steps += 1
            self._observe(step, begun_s, now())
        return rows

    async def sample(self, rows: Rows, picks: Sequence[Pick]) -> list[int]:
        async with self._turn:
            chain = self._attached()
            tokens = chain.sample(rows, picks)
            await asyncio.sleep(self._device.sample_s(chain.layout, len(picks)))
            self._steps += 1
        return tokens

    async def generate(
        self, step: Step, picks: Sequence[Pick], num_steps: int, interrupt: asyncio.Event
    ) -> list[Round]:
        """Let the time of the steps pass at once; what they make is worked out when they are over."""
        async with self._turn:
            chain = self._attached()
            chain.check(step)
            self._turn.interrupted_by(interrupt)
            ends, begun_s = self._ends(chain, step, num_steps), now()
            count = await _passed(ends, interrupt)
            made = chain.generate(step, picks, count)
            self._steps += 2 * count
            for times in pairwise([begun_s, *ends[:count]]):
                self._observe(step, *times)
        return [Round(*pair) for pair in zip(ends, made, strict=False)]

    def _ends(self, chain: HashChain, step: Step, num_steps: int) -> list[float]:
        """When each of so many steps is over, if they begin now."""
        end, ends, count, attended = now(), [], len(step.chunks), step.num_attended
        forward_s = self._forward_s(step, attended)
        sample_s = self._device.sample_s(chain.layout, count)
        for i in range(num_steps):
            if self._device.reads_kv:
                forward_s = self._forward_s(step, attended + i * count)
            end += forward_s
            end += sample_s
            ends.append(end)
        return ends

    async def close(self) -> None:
        self._model = self._chain = None

    def _forward_s(self, step: Step, num_attended: int) -> float:
        """Seconds of a step that attends to so many positions."""
        model, parts = self._prepared(), (step.first, step.stop)
        kv_nbytes = model.kv.nbytes_of(*parts, num_attended)
        return self._device.forward_s(model.layout, *parts, step.num_tokens, kv_nbytes)

    def _prepared(self) -> Prepared:
        if self._model is None:
            raise ModelError("the engine has no model; prepare it first")
        return self._model

    def _attached(self) -> HashChain:
        self._prepared()
        if self._chain is None:
            raise ModelError("the engine has no model in memory; attach it first")
        return self._chain


async def _passed(ends: Sequence[float], interrupt: asyncio.Event) -> int:
    """Wait for the last of `ends`, or for the first one after `interrupt`; return how many have passed."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout_at(ends[-1]):
            await interrupt.wait()
    count = min(bisect_left(ends, now()) + 1, len(ends))
    await asyncio.sleep(max(ends[count - 1] - now(), 0.0))
    return count
