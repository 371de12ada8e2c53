"""Execute-while-load over RDMA with real layers: a small random Llama gives the tokens of `transformers`.

torch takes long to import in an emulated machine: once here, and once in the nursery that forks the agents.
"""

from pathlib import Path

import pytest
from devices import Device
from test_links import held

from lambdascale.config import ScaleSpec
from lambdascale.experiments.spec import RunSpec


@pytest.mark.timeout(240)
def test_requests_served_while_the_model_is_in_flight_have_the_tokens_of_transformers(
    devices: list[Device], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from tiny import save_tiny

    from lambdascale.experiments.parity import reference_outputs
    from lambdascale.experiments.run import run

    monkeypatch.setenv("LAMBDASCALE_CACHE", str(tmp_path / "cache"))
    save_tiny(tmp_path / "model", "llama", tied=False, sharded=False)
    before = held()
    spec = RunSpec(
        model=str(tmp_path / "model"),
        scale=ScaleSpec(num_sources=2, num_nodes=4, num_blocks=8, max_slots=1, timeout_s=150),
        prompts=tuple(f"number {number}" for number in range(12)),
        max_tokens=40,
        transport=f"rdma:{devices[0].name}",
        link_gbps=0.001,  # the load takes 13 s, so that requests come before it is over
    )
    result = run(spec)
    assert result.outputs() == reference_outputs(spec)
    kinds = set(result.tokens["kind"])
    assert "pipeline" in kinds, f"nothing was served while loading: {kinds}"
    assert held() == before
