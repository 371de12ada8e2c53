"""Testbeds and engines as values: every number has a source, every file that is wrong says where."""

import json
from dataclasses import fields, replace
from pathlib import Path

import pytest

from lambdascale.errors import ConfigError
from lambdascale.sim.conditions import Conditions
from lambdascale.sim.hardware import (
    AUTHORS,
    CONTINUOUS,
    H200,
    TESTBED1,
    TESTBED2,
    TESTBEDS,
    Hardware,
    load,
)
from lambdascale.sim.models import nominal_model

MODELS = {"llama-2-7b": TESTBED1, "llama-2-13b": TESTBED1, "llama-2-70b": TESTBED2}
UNSOURCED = {"name", "sources"}


@pytest.mark.parametrize("hardware", TESTBEDS.values(), ids=TESTBEDS)
def test_every_number_of_a_testbed_says_where_it_comes_from(hardware: Hardware) -> None:
    assert hardware.sources.keys() == {field.name for field in fields(Hardware)} - UNSOURCED


@pytest.mark.parametrize("hardware", TESTBEDS.values(), ids=TESTBEDS)
def test_a_file_has_all_of_the_value(hardware: Hardware, tmp_path: Path) -> None:
    changed = replace(
        hardware,
        conditions=Conditions(
            jitter=0.1, stragglers=((1, 2.0),), start_up=(("process started", 3.0),)
        ),
    )
    changed.save(tmp_path / "hardware.json")
    assert load(tmp_path / "hardware.json") == changed


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["link_gbps"], None, "missing required field `link_gbps`"),
        (["link_gbps"], -1.0, "link_gbps is -1.0; give Gbit/s"),
        (["num_nodes"], "twelve", r"\$.num_nodes"),
        (["num_nodes"], 0, "num_nodes is 0; it must be at least 1"),
        (["colour"], "grey", "it has the field 'colour'; use name, num_nodes"),
        (["conditions", "latency"], 1.0, "conditions has the field 'latency'; use latency_s"),
        (["conditions", "jitter"], -1.0, "jitter is -1.0"),
        (["device", "any", "speed"], 1.0, "device has the field 'speed'; use bandwidth"),
        (["device", "any", "flops"], 0.0, "rates must be positive"),
        (["device"], {}, "device is empty"),
        (["sources", "speed"], "somewhere", "sources has the field 'speed'"),
    ],
)
def test_a_wrong_file_is_refused_by_the_name_of_what_is_wrong(
    path: list[str], value: object, message: str, tmp_path: Path
) -> None:
    TESTBED1.save(tmp_path / "hardware.json")
    found = json.loads((tmp_path / "hardware.json").read_text())
    at = found
    for key in path[:-1]:
        at = at[key]
    if value is None:
        del at[path[-1]]
    else:
        at[path[-1]] = value
    (tmp_path / "hardware.json").write_text(json.dumps(found))
    with pytest.raises(ConfigError, match=f"hardware.json describes no hardware: .*{message}"):
        load(tmp_path / "hardware.json")


def test_what_is_no_file_or_no_json_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path / "none.json")
    (tmp_path / "hardware.json").write_text("[1, 2")
    with pytest.raises(ConfigError, match="describes no hardware"):
        load(tmp_path / "hardware.json")


def test_a_fine_tuned_copy_has_the_device_of_its_original_and_others_that_of_any_model() -> None:
    slow, fast = AUTHORS.device("llama-2-7b", TESTBED1), TESTBED1.device_of("any")
    hardware = replace(TESTBED1, device={"llama-2-7b": slow, "any": fast})
    assert hardware.device_of("llama-2-7b#3") is slow
    assert hardware.device_of("smollm2-135m") is fast
    with pytest.raises(ConfigError, match=r"no device for 'smollm2-135m'; it has llama-2-7b"):
        replace(TESTBED1, device={"llama-2-7b": slow}).device_of("smollm2-135m")


@pytest.mark.parametrize("model", MODELS)
def test_a_decode_step_of_the_authors_takes_their_constant_for_a_few_sequences(model: str) -> None:
    layout = nominal_model(model).layout
    device = AUTHORS.device(f"{model}#1", MODELS[model])
    for num_tokens in (1, 4, 8):
        step_s = device.forward_s(layout, 0, layout.num_parts, num_tokens, kv_nbytes=1e9)
        assert step_s == pytest.approx(AUTHORS.step_s[model])


def test_the_authors_have_one_request_in_flight_per_gpu_and_others_have_no_such_device() -> None:
    found = {model: AUTHORS.requests(model, hardware) for model, hardware in MODELS.items()}
    assert found == {"llama-2-7b": 1, "llama-2-13b": 1, "llama-2-70b": 4}
    with pytest.raises(ConfigError, match="engine authors has no step_s for 'smollm2-135m'"):
        AUTHORS.device("smollm2-135m", TESTBED1)


@pytest.mark.parametrize("model", MODELS)
def test_continuous_batching_fills_what_the_weights_leave_and_no_more(model: str) -> None:
    hardware, packed = MODELS[model], nominal_model(model)
    roomy = replace(CONTINUOUS, max_slots=100_000)
    limits = roomy.limits(model, hardware)
    each = limits.max_length * packed.shape.kv_bytes_per_token("float16")
    used = packed.layout.nbytes + limits.max_slots * each
    assert used <= CONTINUOUS.memory_share * hardware.gpu_gb * 1e9 < used + each
    assert CONTINUOUS.limits(model, hardware).max_slots == min(256, limits.max_slots)
    assert CONTINUOUS.requests(model, hardware) == CONTINUOUS.limits(model, hardware).max_slots


def test_a_model_that_leaves_no_room_is_refused() -> None:
    with pytest.raises(ConfigError, match="llama-2-70b leaves no room for 1024 tokens"):
        CONTINUOUS.limits("llama-2-70b", H200)
