"""What the guest runs once it has its root: it makes the devices, runs one command, and resets itself.

    rxe0 on lo            rxe1 on wire0 ──── veth ──── wire1 with rxe2

Frames between rxe1 and rxe2 cross the pair of veth, where they can be lost or cut off; both ends are of the
same host, which a kernel accepts only if it is told to before the links are made.
"""

import shlex
from collections.abc import Mapping, Sequence

NO_DEVICE, DIED = 97, 98  # exit statuses that pytest has not
OUT = "/out"
STATUS = "status"
DEVICES = "devices.sh"

MAKE_DEVICES = """
for scope in all default; do
  echo 1 > /proc/sys/net/ipv4/conf/$scope/accept_local
  echo 0 > /proc/sys/net/ipv4/conf/$scope/rp_filter
done
ip link add wire0 mtu 9000 type veth peer name wire1 mtu 9000
for end in 0 1; do
  ip address add 10.88.0.$((end + 1))/24 dev wire$end
  ip link set wire$end up
done
rdma link add rxe0 type rxe netdev lo
rdma link add rxe1 type rxe netdev wire0
rdma link add rxe2 type rxe netdev wire1
"""


def script(command: Sequence[str], folder: str, environment: Mapping[str, str]) -> str:
    """Return the shell script that runs `command` in `folder` and leaves its exit status in /out."""
    exports = [f"export {name}={shlex.quote(value)}" for name, value in environment.items()]
    lines = [
        "ulimit -l unlimited",
        "ulimit -n 65536",
        *exports,
        "export PATH=$PATH:/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp",
        f"end() {{ echo $1 > {OUT}/{STATUS}; sync; echo b > /proc/sysrq-trigger; sleep 60; }}",
        f"sh -e {OUT}/{DEVICES} || {{ echo 'no software RDMA device'; end {NO_DEVICE}; }}",
        'read up _ < /proc/uptime; echo "$(uname -r) has its RDMA devices after $up s"',
        f"cd {shlex.quote(folder)} && {shlex.join(command)}",
        "end $?",
    ]
    return "\n".join(lines) + "\n"
