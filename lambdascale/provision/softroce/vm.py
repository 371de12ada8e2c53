"""One run of the virtual machine: it boots, runs a command as root, and is gone; its exit status stays.

The guest sees the files of this machine and cannot change them; what it leaves under /out is in `folder`.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lambdascale.errors import ConfigError
from lambdascale.provision.softroce import bounded, guest, initramfs
from lambdascale.provision.softroce.kernel import Kernel

KVM = Path("/dev/kvm")
TIMEOUT_S = 540.0  # four minutes on a free machine; slow ones take longer
QUIET = "console=ttyS0 quiet panic=-1 mitigations=off"
# It ends when this process ends, however that does.
WITH_PARENT = ("setpriv", "--pdeathsig", "SIGKILL")


@dataclass(frozen=True, slots=True)
class Machine:
    """How large it is, and how long it may run in all."""

    cpus: int = 2
    memory_gib: int = 4
    timeout_s: float = TIMEOUT_S

    def __post_init__(self) -> None:
        for name in ("cpus", "memory_gib", "timeout_s"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be positive")


def run(
    kernel: Kernel,
    machine: Machine,
    folder: Path,
    command: Sequence[str],
    environment: Mapping[str, str],
) -> int:
    """Run `command` in a new machine and return its exit status; DIED if the machine ends without one.

    Raises DeadlineError if it takes longer than it may.
    """
    (folder / guest.DEVICES).write_text(guest.MAKE_DEVICES, encoding="utf-8")
    script = guest.script(command, str(Path.cwd()), environment)
    (folder / initramfs.SCRIPT).write_text(script, encoding="utf-8")
    status = folder / guest.STATUS
    status.unlink(missing_ok=True)
    boot = [*WITH_PARENT, *qemu(kernel, machine, folder, accelerated())]
    bounded.run(boot, machine.timeout_s, os.environ)
    return int(status.read_text(encoding="utf-8")) if status.exists() else guest.DIED


def accelerated() -> bool:
    """Can the processor itself run guests? Where /dev/kvm is there all the same it is slower than none."""
    flags = Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
    return os.access(KVM, os.R_OK | os.W_OK) and ("vmx" in flags or "svm" in flags)


def qemu(kernel: Kernel, machine: Machine, folder: Path, kvm: bool) -> list[str]:
    """Return the command line; the guest's console is our standard output."""
    bare = ("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-serial", "stdio")
    accelerator = ("-accel", "kvm", "-cpu", "host")
    emulator = ("-accel", "tcg,thread=multi", "-cpu", "max,la57=off")
    arguments = QUIET if kvm else f"{QUIET} tsc=reliable"
    return [
        *("qemu-system-x86_64", "-machine", "q35", *(accelerator if kvm else emulator), *bare),
        *("-smp", str(machine.cpus), "-m", f"{machine.memory_gib}G"),
        *("-kernel", str(kernel.image), "-initrd", str(kernel.initramfs), "-append", arguments),
        *_shared("hostroot", Path("/"), "readonly=on,multidevs=remap"),
        *_shared("out", folder, "multidevs=remap"),
    ]


def _shared(tag: str, folder: Path, options: str) -> tuple[str, ...]:
    shown = f"local,id={tag},path={str(folder).replace(',', ',,')},security_model=none,{options}"
    return ("-fsdev", shown, "-device", f"virtio-9p-pci,fsdev={tag},mount_tag={tag}")
