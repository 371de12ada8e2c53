"""What is given to a run is checked before anything starts, the same on both clocks."""

import asyncio
import os
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from leftovers import own_children
from tiny import TinyModel

from lambdascale.cluster.agent import Agent, Leaves
from lambdascale.cluster.tags import MAX_VALUE
from lambdascale.config import ScaleSpec
from lambdascale.control import messages as m
from lambdascale.control.streams import StreamControl
from lambdascale.engine.device import DeviceModel
from lambdascale.engine.torch_engine import TorchEngine
from lambdascale.errors import ConfigError
from lambdascale.experiments.inputs import Inputs, check, load_inputs, load_model, node_nbytes
from lambdascale.experiments.run import run
from lambdascale.experiments.scaling import scale_out
from lambdascale.experiments.session import Session
from lambdascale.experiments.simulated import symbolic_inputs
from lambdascale.experiments.spec import RunSpec
from lambdascale.model.catalogue import load_packed
from lambdascale.model.layout import ALIGNMENT
from lambdascale.storage.files import FileStorage
from lambdascale.transport.base import Region, Transport
from lambdascale.transport.registry import open_transport
from lambdascale.workload.request import Request

VOCAB, CONTEXT = 512, 256


@pytest.fixture(params=["real", "virtual"])
def spec(request: pytest.FixtureRequest, tiny_model: TinyModel) -> RunSpec:
    """A run on either clock that would work."""
    return RunSpec(
        model=str(tiny_model("llama")),
        scale=ScaleSpec(num_sources=1, num_nodes=2, num_blocks=8),
        link_gbps=1.0,
        device=DeviceModel(1e9, 1e12),
        clock=request.param,
    )


def inputs_of(spec: RunSpec) -> Inputs:
    return load_inputs(spec) if spec.clock == "real" else symbolic_inputs(spec)


def refused(spec: RunSpec, inputs: Inputs | None) -> str:
    """Run, which must be refused before the first process begins, and return the reason."""
    with pytest.raises(ConfigError) as error:
        run(spec, inputs=inputs)
    assert own_children() == []
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("requests", "complaint"),
    [
        ([Request(3, (1,), 4), Request(3, (2,), 4)], "request id 3 repeats"),
        ([Request(0, (1,) * 250, 7)], "prompt 0 has 250 tokens and asks for 7 more, but 256 fit"),
        ([Request(0, (1, VOCAB), 4)], "prompt 0 has token 512, but the model's vocabulary is 0 to 511"),
        ([Request(5, (1, -2), 4)], "prompt 5 has token -2"),
    ],
)  # fmt: skip
def test_requests_that_cannot_be_served_are_refused(
    spec: RunSpec, requests: Sequence[Request], complaint: str
):
    given = Inputs(inputs_of(spec).image, tuple(requests))
    assert complaint in refused(spec, given)


def test_requests_up_to_the_limits_are_served(spec: RunSpec):
    requests = Request(7, (0, VOCAB - 1), 4), Request(2, (1,) * (CONTEXT - 3), 3, arrival_s=0.01)
    result = run(spec, inputs=Inputs(inputs_of(spec).image, requests))
    assert {request: len(ids) for request, ids in result.outputs().items()} == {7: 4, 2: 3}


def test_max_length_limits_requests_below_the_context(spec: RunSpec):
    short = replace(spec, scale=replace(spec.scale, max_length=20))
    given = Inputs(inputs_of(short).image, (Request(0, (1,) * 17, 4),))
    assert "20 fit (the model's context is 256, max_length 20)" in refused(short, given)


def test_inputs_made_for_another_number_of_blocks_are_refused(spec: RunSpec):
    other = replace(spec, scale=replace(spec.scale, num_blocks=9))
    assert "checksums of 8 blocks, but blocks is 9" in refused(other, inputs_of(spec))


@pytest.mark.parametrize("token", [np.int64(5), np.uint8(5), True, 5.0, "5", torch.tensor(5)])
def test_only_plain_ints_are_numbers_of_a_request(token):
    with pytest.raises(
        ConfigError, match=r"token of the prompt of request 4 is .*give a plain int"
    ):
        Request(4, (1, token), 4)
    with pytest.raises(ConfigError, match="stop token of request 4 is"):
        Request(4, (1,), 4, stop=(token,))
    with pytest.raises(ConfigError, match="id of a request is"):
        Request(token, (1,), 4)
    with pytest.raises(ConfigError, match="max_tokens of request 4 is"):
        Request(4, (1,), token)


@pytest.mark.parametrize("arrival_s", [-0.1, float("nan"), float("inf"), np.float64(1.0), "soon"])
def test_a_request_arrives_at_a_time_that_comes(arrival_s):
    with pytest.raises(ConfigError, match=r"arrival_s of request 4 is .*0"):
        Request(4, (1,), 4, arrival_s=arrival_s)


def test_an_array_or_an_empty_prompt_is_no_prompt():
    with pytest.raises(ConfigError, match="give a plain int"):
        Request(0, np.arange(3), 4)
    with pytest.raises(ConfigError, match="prompt of request 0 is empty"):
        Request(0, (), 4)


def test_more_blocks_than_lines_of_the_image_are_refused(spec: RunSpec):
    lines = load_packed(spec.model, spec.dtype).layout.nbytes // ALIGNMENT
    fitting = inputs_of(replace(spec, scale=replace(spec.scale, num_blocks=lines)))
    assert len(fitting.image.checksums) == lines
    finer = replace(spec, scale=replace(spec.scale, num_blocks=lines + 1))
    for given in (None, fitting):
        assert f"has {lines} lines of 64 bytes" in refused(finer, given)


def test_more_blocks_than_a_notice_can_number_are_refused(spec: RunSpec):
    finest = replace(spec, scale=replace(spec.scale, num_blocks=MAX_VALUE + 1))
    with pytest.raises(ConfigError, match=r"blocks is 16777216; at most 16777215 .* \(24 bits\)"):
        check(finest)


class Counting:
    """A transport that adds up the bytes registered with it."""

    def __init__(self, inner: Transport) -> None:
        self._inner = inner
        self.node, self.address = inner.node, inner.address
        self.connect, self.receive, self.close = inner.connect, inner.receive, inner.close
        self.grant, self.revoke, self.fence = inner.grant, inner.revoke, inner.fence
        self.nbytes = 0

    async def register(self, key: int, nbytes: int, touched: bool = True) -> Region:
        self.nbytes += nbytes
        return await self._inner.register(key, nbytes, touched)


async def registered(session: Session) -> int:
    """Prepare a node of `session` and return the bytes that it has registered."""
    control = StreamControl(b"secret")
    listener = await control.listen()
    transport = Counting(await open_transport("shm", 0, b"secret"))
    connect = partial(control.connect, listener.address, 0)
    agent = Agent(0, Leaves(connect, transport, TorchEngine, FileStorage()))
    running = asyncio.ensure_future(agent.run())
    controller = await listener.accept()
    capacity, num_lanes = session.cluster.capacity, session.cluster.num_nodes
    hosted = tuple(m.Hosted(d.model, d.image, d.limits) for d in session.deployments)
    controller.send(m.Prepare(hosted, capacity.gpu, capacity.host, num_lanes, 0.0))
    assert isinstance(await controller.receive(), m.Hello)
    assert isinstance(await controller.receive(), m.Prepared)
    controller.send(m.Stop())
    await running
    await controller.close()
    await listener.close()
    return transport.nbytes


@pytest.mark.parametrize("family", ["llama", "qwen2"])
@pytest.mark.parametrize("scale", [ScaleSpec(1, 2), ScaleSpec(2, 5, max_slots=3, max_length=40)])
def test_a_node_registers_as_many_bytes_as_were_counted(
    tiny_model: TinyModel, family: str, scale: ScaleSpec
):
    spec = RunSpec(model=str(tiny_model(family)), scale=scale)
    packed = load_packed(spec.model, spec.dtype)
    session = scale_out(spec, load_inputs(spec, packed))
    assert asyncio.run(registered(session)) == node_nbytes(spec, packed)


def test_memory_for_inboxes_and_outboxes_is_counted(tiny_model: TinyModel):
    spec = RunSpec(model=str(tiny_model("llama")), scale=ScaleSpec(1, 2))
    packed = load_packed(spec.model, spec.dtype)
    wide = replace(spec, scale=ScaleSpec(1, 2, max_step_tokens=1 << 20))
    more = node_nbytes(wide, packed) - node_nbytes(spec, packed)
    rows = ((1 << 20) - 64) * 64 * 4  # of 64 float32 numbers
    assert 0 <= 2 * 2 * rows - more < 2 * 2 * 16384, (
        "two lanes each, less what 8 rows of logits took"
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    too_wide = replace(spec, scale=ScaleSpec(1, 2, max_step_tokens=memory // 256))
    with pytest.raises(ConfigError, match="but this machine has"):
        load_model(too_wide)
