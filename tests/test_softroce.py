"""What the virtual machine is made of: modules in order, an archive, a kernel; and why it cannot run."""

import lzma
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from leftovers import lives, within

from lambdascale.errors import ConfigError, DeadlineError
from lambdascale.provision.softroce import (
    bounded,
    guest,
    initramfs,
    kernel,
    modules,
    packages,
    pyverbs,
    vm,
)
from lambdascale.provision.softroce.__main__ import CANNOT_RUN
from lambdascale.provision.softroce.packages import NEEDED, Surroundings

HEADER = 64
SECTION = struct.Struct("<IIQQQQIIQQ")


def elf(depends: str) -> bytes:
    """A module of three sections: none, `.modinfo`, and the names of sections."""
    info = f"license=GPL\0depends={depends}\0".encode()
    names = b"\0.modinfo\0.shstrtab\0"
    start = HEADER + len(info) + len(names)
    sections = [
        SECTION.pack(*[0] * 10),
        SECTION.pack(1, 1, 0, 0, HEADER, len(info), 0, 0, 1, 0),
        SECTION.pack(10, 3, 0, 0, HEADER + len(info), len(names), 0, 0, 1, 0),
    ]
    header = bytearray(HEADER)
    struct.pack_into("<Q", header, modules.SECTIONS_AT, start)
    struct.pack_into("<HHH", header, modules.COUNTS_AT, SECTION.size, 3, 2)
    return bytes(header) + info + names + b"".join(sections)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A kernel of modules a → b-b → c and a → c, with d built in; one is compressed."""
    (tmp_path / "kernel/net").mkdir(parents=True)
    (tmp_path / "kernel/net/a.ko").write_bytes(elf("c,b_b,d"))
    (tmp_path / "kernel/net/b-b.ko.xz").write_bytes(lzma.compress(elf("c")))
    (tmp_path / "kernel/c.ko").write_bytes(elf(""))
    (tmp_path / "modules.builtin").write_text("kernel/lib/d.ko\n")
    return tmp_path


def test_what_a_module_depends_on_is_read_from_its_elf_image():
    assert modules.modinfo(elf("x,y")) == {"license": "GPL", "depends": "x,y"}


def test_a_module_is_loaded_after_all_it_depends_on(tree: Path):
    ordered = modules.load_order(tree, ["a", "c", "d"])
    assert list(ordered) == ["c", "b_b", "a"]
    assert ordered["b_b"] == elf("c"), "not compressed any more"


def test_a_module_that_the_kernel_lacks_is_named(tree: Path):
    with pytest.raises(ConfigError, match="no module rdma_rxe; use linux-image-amd64"):
        modules.load_order(tree, ["rdma_rxe"])


def test_the_archive_is_one_that_cpio_reads(tmp_path: Path):
    busybox = shutil.which("busybox")
    if busybox is None:
        pytest.skip("no busybox on this machine to read the archive with")
    images = {"a": b"abc", "b": b""}
    archive = initramfs.archive([*initramfs.contents(b"box", images, {"c": b"12345"})])
    listing = subprocess.run(
        [busybox, "cpio", "-t"], input=archive, capture_output=True, check=True
    )
    names = listing.stdout.decode().split()
    assert {"init", "bin/busybox", "bin/sh", "modules/a.ko", "modules/c.ko"} <= set(names)
    unpack = [busybox, "cpio", "-i", "modules/*", "init"]
    subprocess.run([busybox, "mkdir", "modules"], cwd=tmp_path, check=True)
    subprocess.run(unpack, cwd=tmp_path, input=archive, capture_output=True, check=True)
    assert (tmp_path / "modules/boot").read_text() == "a b"
    assert (tmp_path / "modules/c.ko").read_bytes() == b"12345"
    assert (tmp_path / "init").read_text() == initramfs.INIT


def test_an_xz_kernel_is_unpacked_and_any_other_is_left_as_it_is():
    def boot_image(payload: bytes) -> bytes:
        image = bytearray(2 * kernel.SECTOR)
        image[kernel.SETUP_SECTORS_AT] = 1
        struct.pack_into("<II", image, kernel.PAYLOAD_AT, 0, len(payload))
        return bytes(image) + payload

    assert kernel.bare(boot_image(lzma.compress(b"\x7fELF") + b"size")) == b"\x7fELF"
    assert kernel.bare(boot_image(b"\x1f\x8b")) == boot_image(b"\x1f\x8b")


@pytest.mark.parametrize(
    ("here", "said"),
    [
        (Surroundings("ubuntu", "x86_64", True, ()), "the system is ubuntu, not Debian"),
        (Surroundings("debian", "aarch64", True, ()), "the processor is aarch64"),
        (Surroundings("debian", "x86_64", False, ("iproute2",)), "apt-get install iproute2"),
    ],
)
def test_why_it_cannot_run_is_one_line_that_says_what_to_do(here: Surroundings, said: str):
    reason = packages.obstacle(here)
    assert said in reason
    assert "\n" not in reason


@pytest.mark.parametrize(("root", "lacking"), [(True, NEEDED), (False, ())])
def test_it_runs_as_root_or_where_nothing_is_missing(root: bool, lacking: tuple[str, ...]):
    assert packages.obstacle(Surroundings("debian", "x86_64", root, lacking)) == ""


def test_a_pyverbs_for_another_python_is_refused(tmp_path: Path):
    (tmp_path / "device.cpython-30-x86_64-linux-gnu.so").touch()
    with pytest.raises(ConfigError, match=r"has device\.cpython-30\S*, this Python loads device\."):
        pyverbs.check(tmp_path)


def test_the_guest_leaves_the_status_of_its_command(tmp_path: Path):
    script = guest.script(["sh", "-c", "exit 3"], "a folder", {"NAME": "two words"})
    assert "export NAME='two words'\n" in script
    assert "cd 'a folder' && sh -c 'exit 3'\nend $?\n" in script
    subprocess.run(["sh", "-n"], input=script + guest.MAKE_DEVICES, text=True, check=True)
    subprocess.run(["sh", "-n"], input=initramfs.INIT, text=True, check=True)


def test_the_guest_cannot_write_to_the_files_of_this_machine(tmp_path: Path):
    made = kernel.Kernel(tmp_path / "vmlinux", tmp_path / "initramfs")
    command = vm.qemu(made, vm.Machine(cpus=1), tmp_path, kvm=False)
    (root,) = [part for part in command if "path=/," in part]
    assert "readonly=on" in root.split(",")


def test_a_program_that_takes_too_long_is_ended_with_all_that_it_started(tmp_path: Path):
    script = f"sleep 61 & echo $! > {tmp_path}/pid; wait"
    with pytest.raises(DeadlineError, match=r"not done after 0\.5 s"):
        bounded.run(["sh", "-c", script], 0.5, os.environ)
    child = int((tmp_path / "pid").read_text())
    assert within(lambda: not psutil.pid_exists(child) or not lives(psutil.Process(child)))


def test_a_program_in_time_gives_its_status():
    assert bounded.run(["sh", "-c", "exit 3"], 30.0, os.environ) == 3


@pytest.mark.parametrize("field", ["cpus", "memory_gib", "timeout_s"])
def test_a_machine_of_no_size_is_refused(field: str):
    with pytest.raises(ConfigError, match=field):
        vm.Machine(**{field: 0})


def test_it_is_run_at_the_root_of_a_checkout_or_says_so(tmp_path: Path):
    done = subprocess.run(
        [sys.executable, "-m", "lambdascale.provision.softroce"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == CANNOT_RUN
    (line,) = done.stderr.splitlines()
    assert line.startswith("test-rdma cannot run here: there is no tests/rdma")
