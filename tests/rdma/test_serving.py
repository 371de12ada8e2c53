"""Execute-while-load over RDMA with real layers: a small random Llama gives the tokens of `transformers`."""

import json
from pathlib import Path

import pytest
from devices import Device
from scaling import AGENTS, outputs, run, session
from test_links import held

from lambdascale.cluster.records import TokenRecord
from lambdascale.config import ScaleSpec
from lambdascale.fleet.nursery import Nursery
from lambdascale.model.catalogue import load_packed
from lambdascale.workload.request import Request

RATE = 250e3  # bytes/s: the load takes 7 s, so that requests come before it is over


@pytest.mark.timeout(240)
def test_requests_served_while_the_model_is_in_flight_have_the_tokens_of_transformers(
    devices: list[Device], results: Path, warm: Nursery
):
    """torch is imported once, by the nursery, which forks the agents before any verbs are used."""
    prepared = results / "prepared"
    pairs = json.loads((prepared / "expected.json").read_text(encoding="utf-8"))
    model = load_packed(str(prepared / "llama"), "float32", prepared / "cache")
    before = held()
    requests = [Request(n, tuple(p), max_tokens=len(o)) for n, (p, o) in enumerate(pairs)]
    scale = ScaleSpec(2, 4, num_blocks=8, max_slots=1, timeout_s=150)
    made = session(model, requests, scale, [devices[0].name], RATE)
    records = run(made, warm, f"{AGENTS}:main")
    assert outputs(records, made) == {n: tuple(output) for n, (_, output) in enumerate(pairs)}
    kinds = {record.kind for record in records if isinstance(record, TokenRecord)}
    assert "pipeline" in kinds, f"nothing was served while loading: {kinds}"
    assert held() == before
