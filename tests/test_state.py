"""What outlives a controller: a nursery at its door, and the folder by which both are found again."""

import asyncio
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from fleet_conformance import SECRET, specs
from leftovers import alive, own_children, within

from lambdascale.clock import deadline
from lambdascale.errors import ConfigError
from lambdascale.experiments.ground import kept
from lambdascale.fleet.door import Door
from lambdascale.fleet.local import LocalFleet, LocalSite
from lambdascale.fleet.nursery import Nursery
from lambdascale.fleet.state import Standing, StateFolder, state_folder

pytestmark = pytest.mark.alone

LEASE_S, BRIEF_S = 60.0, 1.0
PRELOAD = ("agents_of_tests",)
ENTRY = "agents_of_tests:outlive"
TOLD = {"num_nodes": "2"}
MAKER = """
import asyncio, sys
from pathlib import Path
from fleet_conformance import SECRET, specs
from lambdascale.fleet.door import Door
from lambdascale.fleet.local import LocalFleet
from lambdascale.fleet.nursery import Nursery

async def main(nursery):
    await LocalFleet(nursery, SECRET, "agents_of_tests:outlive").start(specs("", 2, None))
    await asyncio.sleep(3600)

nursery = Nursery(("agents_of_tests",), door=Door(Path(sys.argv[1]), float(sys.argv[2])))
print(nursery.pid, flush=True)
asyncio.run(main(nursery))
"""


@pytest.fixture(autouse=True)
def path_of_agents(monkeypatch: pytest.MonkeyPatch) -> None:
    repository = Path(__file__).parent.parent
    monkeypatch.setenv("PYTHONPATH", f"{Path(__file__).parent}:{repository}")


@pytest.fixture
def path() -> Iterator[Path]:
    """A folder with a short name: a socket is to be in it."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def orphaned(door: Door) -> tuple[psutil.Process, list[psutil.Process]]:
    """A nursery and its two children, whose maker has been killed."""
    command = [sys.executable, "-c", MAKER, str(door.path), str(door.lease_s)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as maker:
        assert maker.stdout is not None
        nursery = psutil.Process(int(maker.stdout.readline()))
        assert within(lambda: len(nursery.children()) == 2, 20.0)
        children = nursery.children()
        maker.send_signal(signal.SIGKILL)
    return nursery, children


def test_a_nursery_is_found_with_its_children_which_are_not_started_again(path: Path):
    door = Door(path / "nursery", LEASE_S)
    nursery, children = orphaned(door)

    async def go_on(found: Nursery) -> None:
        fleet = LocalFleet(found, SECRET, ENTRY)
        async with deadline(20, "the deaths of children"):
            await fleet.start(specs("", 3, None))
            assert within(lambda: len(nursery.children()) == 3), "the third alone is new"
            assert children == nursery.children()[:2]
            await fleet.kill(1)
            assert await fleet.died() == 1
            await fleet.close()

    with Nursery(PRELOAD, door=door) as found:
        assert found.was_found
        assert (found.pid, found.found) == (nursery.pid, [0, 1])
        found.take()
        asyncio.run(go_on(found))
        assert alive((nursery, *children)) == [nursery]
    assert within(lambda: not alive((nursery,)))
    assert not door.path.exists()


def test_a_nursery_that_nobody_takes_lives_on_until_its_lease_has_run_out(path: Path):
    door = Door(path / "nursery", BRIEF_S)
    nursery, children = orphaned(door)
    with Nursery(PRELOAD, door=door) as found:
        assert found.was_found
    assert alive((nursery, *children))
    assert within(lambda: not alive((nursery, *children)), 10.0)
    assert door.path.exists()
    with Nursery(PRELOAD, door=door) as made:
        assert not made.was_found, "what an earlier one has left in its place does no harm"
    assert not own_children()


def test_a_new_cluster_is_remembered_and_at_its_end_forgotten(path: Path):
    with state_folder(path / "state", LEASE_S) as folder:
        (folder.ssd / "0").mkdir(parents=True)
        with LocalSite(PRELOAD, door=folder.door) as site, kept(folder, site, TOLD) as ground:
            assert not folder.ssd.exists(), "images of a cluster that has ended"
            assert ground.lease_s == LEASE_S
            (file,) = [file for file in (path / "state").iterdir() if file.is_file()]
            assert file.stat().st_mode & 0o777 == 0o600
            assert folder.same(TOLD).secret == ground.secret
        assert not list((path / "state").iterdir())


def test_another_cluster_than_the_living_one_is_refused_and_that_left_alone(path: Path):
    with state_folder(path, LEASE_S) as folder:
        folder.write(Standing(SECRET, 0, TOLD | {"lease_s": "60"}))
        nursery, children = orphaned(folder.door)
        with (
            pytest.raises(
                ConfigError, match=r"has num_nodes 2, not 3; start it as before, or wait"
            ),
            LocalSite(PRELOAD, door=folder.door) as site,
            kept(folder, site, {"num_nodes": "3"}),
        ):
            pass
        assert len(alive((nursery, *children))) == 3
        with LocalSite(PRELOAD, door=folder.door) as site, kept(folder, site, TOLD) as ground:
            assert ground.secret == SECRET
    assert within(lambda: not alive((nursery, *children)))


def test_a_folder_serves_one_process_and_one_user(path: Path):
    with state_folder(path, LEASE_S):
        refuses(path, "another process serves with")
    with state_folder(path, LEASE_S):
        pass
    path.chmod(0o750)
    refuses(path, "is not yours alone")
    path.chmod(0o700)
    (path / "file").touch()
    refuses(path / "file", "cannot be used")
    refuses(path / ("long" * 30), "too long")


def refuses(path: Path, why: str) -> None:
    with pytest.raises(ConfigError, match=why), state_folder(path, LEASE_S):
        pass


def test_what_is_remembered_but_broken_is_named(path: Path):
    folder = StateFolder(path, LEASE_S)
    (path / "cluster").write_text("{")
    with pytest.raises(ConfigError, match="cannot be read; wait 60 s"):
        folder.same(TOLD)
