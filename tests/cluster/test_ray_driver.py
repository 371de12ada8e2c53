"""The command line on a cluster: what goes wrong is said, and nothing is left on any node."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from leftovers import alive, within
from nurseries import nurseries
from tiny import TinyModel

from lambdascale.model.catalogue import load_packed

NODES, SOURCES = 4, 2  # whoever is killed, there is one left to send and one to receive


class ScaleOut:
    """A real `lambdascale scale --cluster`, in the middle of its scale-out."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.found = tuple(nurseries())
        self.agents = tuple(process for process in self.found if process.parent() in self.found)

    def end(self) -> tuple[int, str]:
        """Wait for the end; return the status and the standard error."""
        _, err = self.process.communicate(timeout=20)
        return self.process.returncode, err

    def gone(self) -> bool:
        return not alive(self.found)


@pytest.fixture
def scale_out(tiny_model: TinyModel, tmp_path: Path, cluster_file: Path) -> Iterator[ScaleOut]:
    """One whose load takes half a minute; its first answer has been seen, so it has begun."""
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("one\ntwo\n")
    cache = tmp_path / "cache"
    model = tiny_model("llama")
    load_packed(str(model), "float32", cache)
    shape = (
        "--sources",
        str(SOURCES),
        "--nodes",
        str(NODES),
        "--link-gbps",
        "0.0008",
        "--max-tokens",
        "2",
    )
    given = ("--model", str(model), "--prompts", str(prompts), "--cluster", str(cluster_file))
    with subprocess.Popen(
        [sys.executable, "-m", "lambdascale", "scale", *shape, *given],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"LAMBDASCALE_CACHE": str(cache)},
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline(), process.stderr and process.stderr.read()
            begun = ScaleOut(process)
            assert len(begun.agents) == NODES
            assert len(begun.found) == 2 * NODES, "a nursery each"
            yield begun
        finally:
            process.kill()
    assert within(begun.gone)


def test_a_driver_killed_in_the_middle_leaves_nothing_on_any_node(scale_out: ScaleOut):
    scale_out.process.kill()
    assert within(scale_out.gone, 5.0), scale_out.found


def test_a_scale_out_goes_on_without_an_agent_that_is_killed_until_a_signal_ends_it_cleanly(
    scale_out: ScaleOut,
):
    scale_out.agents[0].kill()
    time.sleep(1.0)
    assert scale_out.process.poll() is None, "its death ends nothing"
    scale_out.process.send_signal(signal.SIGTERM)
    assert scale_out.end() == (143, "lambdascale scale: terminated\n")
    assert within(scale_out.gone, 1.0)


def test_a_scale_out_whose_agents_are_all_killed_ends_with_one_line(scale_out: ScaleOut):
    for agent in scale_out.agents:
        agent.kill()
    status, err = scale_out.end()
    assert status == 2
    assert err.splitlines()[-1].startswith(f"lambdascale scale: all {NODES} nodes have ended")
    assert within(scale_out.gone, 1.0)
