"""Results: tables survive the disk to the last bit, a folder without a manifest is no result."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from tiny import TinyModel

from lambdascale.cluster.records import BlockRecord, CorruptRecord, PhaseRecord, Record
from lambdascale.config import ScaleSpec
from lambdascale.engine.device import DeviceModel
from lambdascale.errors import ConfigError
from lambdascale.experiments import compare, manifest, multicast
from lambdascale.experiments.cached import cached_run, run_each
from lambdascale.experiments.frames import COLUMNS, types
from lambdascale.experiments.parity import agreement
from lambdascale.experiments.prompts import QUESTIONS, questions
from lambdascale.experiments.results import RunResult, folder_of, load
from lambdascale.experiments.run import run
from lambdascale.experiments.spec import RunSpec
from lambdascale.widgets import Progress

DEVICE = DeviceModel(bandwidth=2e7, flops=1e10)


@pytest.fixture
def spec(tiny_model: TinyModel) -> RunSpec:
    """Two sources, four nodes and eight requests in virtual time; a full load takes 0.26 s."""
    return RunSpec(
        model=str(tiny_model("llama")),
        scale=ScaleSpec(num_sources=2, num_nodes=4, max_slots=2, max_length=128),
        prompts=questions(8),
        max_tokens=6,
        link_gbps=0.02,
        device=DEVICE,
        clock="virtual",
        label="Tiny: 2 → 4",
    )


def assert_equal(one: RunResult, other: RunResult) -> None:
    for name in COLUMNS:
        pd.testing.assert_frame_equal(
            getattr(one, name), getattr(other, name), check_exact=True, obj=name
        )
    assert (one.specs, one.corrupt) == (other.specs, other.corrupt)


def test_a_result_is_the_same_after_a_round_trip_over_the_disk(spec: RunSpec, tmp_path: Path):
    result = run(spec)
    assert len(result.tokens) == 8 * 6
    result.save(tmp_path)
    assert_equal(load(tmp_path), result)


def test_a_result_without_requests_has_the_same_columns_and_types(spec: RunSpec, tmp_path: Path):
    result = run(replace(spec, prompts=()))
    assert result.tokens.empty
    assert not result.blocks.empty
    result.save(tmp_path)
    assert_equal(load(tmp_path), result)
    full = run(spec)
    for name in COLUMNS:
        assert list(getattr(result, name).dtypes) == list(getattr(full, name).dtypes)
        assert list(getattr(result, name).columns) == list(types(name))


def test_a_folder_without_a_manifest_is_refused(spec: RunSpec, tmp_path: Path):
    run(spec).save(tmp_path)
    (tmp_path / manifest.MANIFEST).unlink()
    with pytest.raises(ConfigError, match="did not finish"):
        load(tmp_path)


def test_the_manifest_is_written_last(spec: RunSpec, tmp_path: Path, monkeypatch):
    result = run(spec)

    def full_disk(*_: object, **__: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(pd.DataFrame, "to_csv", full_disk)
    with pytest.raises(OSError, match="no space"):
        result.save(tmp_path)
    assert manifest.read_manifest(tmp_path) is None


def test_the_folder_of_a_run_depends_on_everything_in_its_specification(spec: RunSpec):
    root = Path("results")
    assert folder_of(root, spec).name.startswith("tiny-2-4-")
    assert folder_of(root, spec) == folder_of(root, replace(spec))
    others = [
        replace(spec, max_tokens=7),
        replace(spec, scale=replace(spec.scale, num_blocks=8)),
        replace(spec, system=replace(spec.system, window=3)),
        replace(spec, device=replace(DEVICE, launch_s=1e-3)),
    ]
    assert len({folder_of(root, each) for each in [spec, *others]}) == 5


def test_a_complete_run_is_loaded_and_one_of_other_code_is_run_again(
    spec: RunSpec, tmp_path: Path, monkeypatch
):
    first = cached_run(spec, tmp_path)
    seen: list[Record] = []
    assert_equal(cached_run(spec, tmp_path, seen.append), first)
    assert seen == [PhaseRecord("loaded", 0.0)]
    stale = folder_of(tmp_path, spec) / manifest.MANIFEST
    stale.write_text(stale.read_text().replace(manifest.code_digest(), "0" * 12))
    seen.clear()
    assert_equal(cached_run(spec, tmp_path, seen.append), first)
    assert any(isinstance(record, BlockRecord) for record in seen)


def test_runs_are_joined_kept_and_taken_apart_again(spec: RunSpec, tmp_path: Path):
    specs = compare.variants(spec, 2, 1)
    result = run_each(specs, results=tmp_path)
    assert len(list(tmp_path.iterdir())) == 4
    assert result.provenance == "simulated"
    label = specs[1].label
    alone = result.only(label)
    assert alone.specs == (specs[1],)
    assert set(alone.blocks["run"]) == {label}
    assert alone.outputs() == result.outputs(label)
    with pytest.raises(ConfigError, match="no run named"):
        result.only("nobody")
    with pytest.raises(ConfigError, match="different labels"):
        RunResult.joined([result, alone])


def test_corrupted_blocks_are_counted_run_by_run(spec: RunSpec, tmp_path: Path):
    records = [CorruptRecord(2, block, 0, 0.1) for block in range(3)]
    bad = RunResult.of(replace(spec, label="bad"), records, ())
    both = RunResult.joined([run(spec), bad])
    both.save(tmp_path)
    for result in (both, load(tmp_path)):
        assert result.num_corrupt == 3
        assert result.only(spec.label).num_corrupt == 0
        assert result.only("bad").num_corrupt == 3


def test_execute_while_load_is_compared_with_load_then_serve(spec: RunSpec):
    loaded = replace(spec, prompts=questions(16), max_tokens=12)
    result = run_each(compare.variants(loaded, 2))
    on, off = (spec.label for spec in result.specs)
    ratio = compare.first_token_ratios(result)[2]
    assert ratio == compare.receiver_first_s(result, on) / compare.receiver_first_s(result, off)
    assert 0.4 < ratio < 0.8
    (tokens,) = compare.token_metrics(result)
    assert (tokens.name, tokens.values) == ("ewl.k2.same_tokens", (1.0,))
    table = compare.summary(result).set_index("run")
    assert table.loc[on, "load_s"] == result.blocks.query("run == @on")["verified_s"].max()
    assert table.loc[on, "receiver_first_s"] < table.loc[off, "receiver_first_s"]


def test_a_backlog_too_small_for_the_receivers_is_an_error_not_a_number(spec: RunSpec):
    result = run_each(compare.variants(replace(spec, prompts=questions(1), max_tokens=1), 2))
    with pytest.raises(ConfigError, match="give more prompts"):
        compare.first_token_ratios(result)


def test_simulated_multicast_takes_what_the_plan_says(spec: RunSpec):
    specs = multicast.grid(replace(spec, clock="real", device=None), max_sources=2, max_nodes=4)
    assert [(s.scale.num_sources, s.scale.num_nodes) for s in specs] == [
        *((1, 2), (1, 3), (1, 4)),
        *((2, 3), (2, 4)),
    ]
    table = multicast.latency_table(run_each(compare.simulated(*specs)))
    assert list(table["ticks"]) == [16, 17, 17, 16, 16]
    assert (table["seconds"] >= table["planned_s"]).all()
    assert (table["seconds"] < 1.02 * table["planned_s"] + 1e-3).all()


def test_multicast_without_a_link_rate_cannot_be_compared(spec: RunSpec):
    with pytest.raises(ConfigError, match="link_gbps is 0"):
        multicast.grid(replace(spec, clock="real", link_gbps=0), 1, 2)


def test_agreement_counts_positions():
    assert agreement({0: (1, 2, 3)}, {0: (1, 2, 3)}) == 1
    assert agreement({0: (1, 2, 9)}, {0: (1, 2, 3)}) == pytest.approx(2 / 3)
    assert agreement({}, {0: (1,)}) == 0


def test_questions_repeat_when_there_are_too_few():
    assert questions(len(QUESTIONS) + 1)[-1] == QUESTIONS[0]
    assert len(set(QUESTIONS)) == len(QUESTIONS)


def test_progress_counts_blocks_and_tokens_and_is_not_sent_at_every_record(spec: RunSpec):
    shown = Progress(spec, clock=lambda: 0.0)  # time stands still: only phases are shown
    sent: list[str] = []
    shown.line.observe(lambda change: sent.append(change["new"]), "value")
    run(spec, shown)
    assert [bar.value for bar in shown.bars.values()] == [16, 16]
    assert shown.line.value.startswith("Tiny: 2 → 4: finished")
    assert shown.line.value.endswith("48 tokens")
    assert len(sent) < 16


def test_import_lambdascale_loads_nothing_heavy_and_names_its_public_things():
    program = """
import sys, lambdascale
heavy = {"torch", "pandas", "transformers", "numpy", "matplotlib", "ipywidgets"} & set(sys.modules)
assert not heavy, heavy
spec = lambdascale.RunSpec(scale=lambdascale.ScaleSpec(1, 2), sampling=lambdascale.Sampling(0.5))
assert lambdascale.SystemSpec() and lambdascale.DeviceModel(1.0, 1.0)
assert not {"torch", "pandas", "transformers"} & set(sys.modules)
assert set(lambdascale.__all__) <= set(dir(lambdascale))
assert callable(lambdascale.run) and callable(lambdascale.run_all)
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_an_unknown_public_name_is_an_attribute_error():
    import lambdascale

    with pytest.raises(AttributeError, match="no attribute 'runn'"):
        _ = lambdascale.runn
