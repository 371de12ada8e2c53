"""The initramfs of the virtual machine: busybox, modules, and a first program that finds the real root.

    root file system of this machine, read-only (9p) ─┐
                       a tmpfs, gone with the machine ─┴─ overlay = / of the guest      a folder (9p) = /out

Then it hands over to the script that the host put into /out.
"""

import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

BOOT_MODULES = ("virtio_pci", "9pnet_virtio", "9p", "overlay")
DEVICE_MODULES = ("crc32_generic", "ib_uverbs", "rdma_rxe", "rdma_ucm", "veth", "sch_netem")
FOLDERS = ("bin", "dev", "proc", "sys", "modules", "lower", "upper", "newroot")
TOOLS = ("sh", "mount", "mkdir", "insmod", "switch_root", "cat", "ip", "hostname", "reboot")
SCRIPT = "guest.sh"
INIT = f"""#!/bin/sh
export PATH=/bin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
load() {{ for m in $(cat /modules/$1); do insmod /modules/$m.ko || echo "no module $m"; done; }}
load boot
options=trans=virtio,version=9p2000.L,msize=512000
mount -t 9p -o $options,ro,cache=loose hostroot /lower || reboot -f
mount -t tmpfs -o size=75% upper /upper; mkdir /upper/files /upper/work
layers=lowerdir=/lower,upperdir=/upper/files,workdir=/upper/work
mount -t overlay -o $layers overlay /newroot || reboot -f
cd /newroot
mount -t proc proc proc; mount -t sysfs sys sys; mount -t devtmpfs dev dev
mkdir -p dev/pts dev/shm out
mount -t devpts devpts dev/pts; mount -t tmpfs shm dev/shm; mount -t tmpfs run run
mount -t 9p -o $options,cache=none out out || reboot -f
hostname localhost; ip link set lo up
load devices
exec switch_root /newroot /bin/sh /out/{SCRIPT}
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of the archive: its mode with its type, its content, and a device's major and minor."""

    name: str
    mode: int
    data: bytes = b""
    device: tuple[int, int] = (0, 0)


def contents(
    busybox: bytes, boot: Mapping[str, bytes], devices: Mapping[str, bytes]
) -> Iterator[Entry]:
    """Yield what is in the initramfs; the modules are given in the order of loading."""
    for folder in FOLDERS:
        yield Entry(folder, stat.S_IFDIR | 0o755)
    yield Entry("dev/console", stat.S_IFCHR | 0o600, device=(5, 1))
    yield Entry("bin/busybox", stat.S_IFREG | 0o755, busybox)
    for tool in TOOLS:
        yield Entry(f"bin/{tool}", stat.S_IFLNK | 0o777, b"busybox")
    for group, images in (("boot", boot), ("devices", devices)):
        yield Entry(f"modules/{group}", stat.S_IFREG | 0o644, " ".join(images).encode())
        for name, image in images.items():
            yield Entry(f"modules/{name}.ko", stat.S_IFREG | 0o644, image)
    yield Entry("init", stat.S_IFREG | 0o755, INIT.encode())


def archive(entries: Sequence[Entry]) -> bytes:
    """Return the entries as a cpio archive in the format `newc`, which the kernel unpacks."""
    numbered = enumerate([*entries, Entry("TRAILER!!!", 0)], 1)
    return b"".join(_record(number, entry) for number, entry in numbered)


def _record(inode: int, entry: Entry) -> bytes:
    """`mode … nlink … size … rdev … name length`, in hexadecimal; name and data end on a multiple of 4."""
    name = entry.name.encode() + b"\0"
    fields = (inode, entry.mode, 0, 0, 1, 0, len(entry.data), 0, 0, *entry.device, len(name), 0)
    head = b"070701" + b"".join(b"%08x" % field for field in fields) + name
    return _padded(head) + _padded(entry.data)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
