"""Shared fixtures: tiny random-weight models of every architecture, and the catalogued real one."""

import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import TinyModel, save_tiny
from workers import ByFile
from xdist.remote import Producer

from lambdascale.model.catalogue import load_packed
from lambdascale.model.packed import PackedModel
from lambdascale.sim import link
from lambdascale.transport import incoming

collect_ignore = [
    "rdma"
]  # they need an RDMA device, or a virtual machine that has one: `make test-rdma`


def pytest_addoption(parser: pytest.Parser) -> None:
    """How many random runs there are, and how many clients at a time; many more are a soak."""
    parser.addoption("--seeds", type=int, default=20, help="random serverless runs (default 20)")
    parser.addoption("--rounds", type=int, default=5, help="real scale-outs with a death (5)")
    parser.addoption(
        "--clients", type=int, default=0, help="clients of the endpoint (default none)"
    )
    parser.addoption("--load-s", type=float, default=120.0, help="seconds that they ask for (120)")


def pytest_configure() -> None:
    """A shell's background jobs ignore interrupts, and so would all that tests start and interrupt."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ByFile | None:
    """Where workers take files, they take what is large one after the other."""
    return ByFile(config, log) if config.getoption("dist") == "loadfile" else None


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits long for a grant that never comes."""
    for module in (incoming, link):
        monkeypatch.setattr(module, "PATIENCE_S", 2.0)


@pytest.fixture(scope="session", autouse=True)
def one_compute_thread() -> None:
    """Several processes of two threads each on two cores are many times slower."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> TinyModel:
    """Make Hugging Face folders: `tiny_model(arch, tied=False, sharded=False, **config) -> Path`.

    Weights are random with a fixed seed and large enough that the greedy token is clear; the tokenizer
    knows bytes only. The same arguments give the same folder; copy it before you damage it.
    """
    made: dict[object, Path] = {}

    def make(arch: str, tied: bool = False, sharded: bool = False, **config: Any) -> Path:
        key = (arch, tied, sharded, *sorted(config.items()))
        if key not in made:
            made[key] = tmp_path_factory.mktemp(f"tiny-{arch}")
            save_tiny(made[key], arch, tied, sharded, **config)
        return made[key]

    return make


@pytest.fixture(scope="session")
def smollm2() -> PackedModel:
    """The catalogued model packed as float32, in the user's cache; fetched when absent."""
    return load_packed("smollm2-135m", "float32")
