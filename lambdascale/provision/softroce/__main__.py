"""`make test-rdma`: run the tests of real verbs on this machine's RDMA device, or in a virtual machine.

Exit status: 0 if they passed, 1 if not, 77 if they cannot run here, 124 if they took too long.
"""

import argparse
import importlib.util
import os
import shutil
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from lambdascale.errors import ConfigError, DeadlineError
from lambdascale.provision.softroce import bounded, guest, kernel, packages, pyverbs, verdict, vm
from lambdascale.transport.rdma.ports import SYSFS

FAILED, CANNOT_RUN, TOO_LONG = 1, 77, 124
TESTS = Path("tests/rdma")
PREPARE = TESTS / "prepare.py"
PLUGINS = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # some import much, and the guest is slow
SLOWNESS = {"TRANSPORT_SLOWNESS": "5"}  # of the emulated machine, for tests that watch the clock
PASSED_ON = ("PATH", "VIRTUAL_ENV", "CI")


def command(results: str, more: Sequence[str]) -> list[str]:
    """Return the command that runs the tests; their report and what else they write go to `results`.

    The tests' own conftest is the only one, as that of the others imports torch: 15 s in the guest.
    """
    pytest = (sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "pytest_timeout")
    colour = f"--color={'yes' if sys.stdout.isatty() else 'no'}"
    report = (f"--junitxml={results}/{verdict.REPORT}", f"--results={results}")
    found = (f"--confcutdir={TESTS}", "-o", f"pythonpath={TESTS.parent}", str(TESTS))
    return [*pytest, "-v", colour, *report, *found, *more]


def has_device() -> bool:
    """Has this machine an RDMA device itself, and pyverbs to use it with?"""
    present = SYSFS.is_dir() and any(SYSFS.iterdir())
    return present and importlib.util.find_spec("pyverbs") is not None


def prepare(folder: Path, timeout_s: float) -> int:
    """Let the tests prepare, on this machine, what would take them too long in a virtual one."""
    path = os.pathsep.join((str(Path.cwd()), str(TESTS.parent)))
    program = [sys.executable, str(PREPARE), str(folder)]
    return bounded.run(program, timeout_s, os.environ | {"PYTHONPATH": path})


def on_this_machine(results: Path, timeout_s: float, more: Sequence[str]) -> int:
    """Run the tests on the devices of this machine; return pytest's exit status."""
    return bounded.run(command(str(results), more), timeout_s, os.environ | PLUGINS)


def in_a_machine(results: Path, machine: vm.Machine, cache: Path, more: Sequence[str]) -> int:
    """Run the tests in a virtual machine, of packages installed if need be; return pytest's exit status."""
    here = packages.surroundings()
    if reason := packages.obstacle(here):
        raise ConfigError(reason)
    if here.root and (here.lacking or not cache.exists()):
        packages.apt("update")
    if here.lacking:
        print(f"installing {' '.join(here.lacking)} (apt-get, as root)", flush=True)
        packages.install(here.lacking)
    cache.mkdir(parents=True, exist_ok=True)
    path = os.pathsep.join((str(Path.cwd()), str(pyverbs.prepare(cache))))
    passed_on = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    environment = passed_on | PLUGINS | SLOWNESS | {"PYTHONPATH": path}
    booted = kernel.prepare(cache)
    return vm.run(booted, machine, results, command(guest.OUT, more), environment)


def judged(options: argparse.Namespace) -> int:
    """Run the tests, print what came out, and return the exit status for it."""
    results, own = options.results.resolve(), has_device()
    if not TESTS.is_dir():
        raise ConfigError(f"there is no {TESTS} in {Path.cwd()}; run it at the root of a checkout")
    shutil.rmtree(results, ignore_errors=True)
    results.mkdir(parents=True)
    if prepare(results / "prepared", options.timeout):
        raise ConfigError(f"{PREPARE} failed; see what it printed")
    if own:
        status = on_this_machine(results, options.timeout, options.pytest)
    else:
        machine = vm.Machine(timeout_s=options.timeout)
        status = in_a_machine(results, machine, options.cache.resolve(), options.pytest)
    modules = [path.stem for path in TESTS.glob("test_*.py")]
    found = verdict.read(results / verdict.REPORT, modules, status, may_skip=own)
    print(f"test-rdma: {found}", flush=True)
    return FAILED if found.wrong else 0


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="test-rdma", description=__doc__)
    parser.add_argument("--cache", type=Path, default=Path(".rdma"))
    parser.add_argument("--results", type=Path, default=Path("results/runs/rdma"))
    parser.add_argument("--timeout", type=float, default=vm.TIMEOUT_S, help="seconds")
    parser.add_argument("pytest", nargs="*", help="more options for pytest")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _terminate)
    try:
        return judged(parsed(arguments))
    except ConfigError as error:
        print(f"test-rdma cannot run here: {error}", file=sys.stderr)
        return CANNOT_RUN
    except DeadlineError as error:
        print(f"test-rdma: {error}", file=sys.stderr)
        return TOO_LONG


def _terminate(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
