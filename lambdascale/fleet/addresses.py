"""The IPv4 addresses of this machine's interfaces, and the one that lies in a given network (Linux)."""

import fcntl
import ipaddress
import socket
import struct

from lambdascale.errors import ConfigError

SIOCGIFADDR = 0x8915  # linux/sockios.h
_IFREQ = struct.Struct("16s24x")  # a name, and room for the answer
_ADDRESS = slice(20, 24)  # where the kernel writes it: after the name, family and port


def interface_addresses() -> dict[str, str]:
    """Return the first IPv4 address of each interface that has one, by name."""
    found = {}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for _, name in socket.if_nameindex():
            try:
                answer = fcntl.ioctl(sock, SIOCGIFADDR, _IFREQ.pack(name.encode()))
            except OSError:  # it has none
                continue
            found[name] = socket.inet_ntoa(answer[_ADDRESS])
    return found


def node_address(network: str) -> str:
    """Return this Ray node's address in `network`, or the one that Ray knows if that is empty."""
    import ray  # not installed where there is no cluster

    return interface_in(network)[1] if network else str(ray.util.get_node_ip_address())


def interface_in(network: str) -> tuple[str, str]:
    """Return name and address of this machine's interface in `network` (CIDR); ConfigError if none is."""
    wanted, found = ipaddress.ip_network(network), interface_addresses()
    for name, address in found.items():
        if ipaddress.ip_address(address) in wanted:
            return name, address
    known = ", ".join(f"{name} {address}" for name, address in found.items())
    raise ConfigError(
        f"no interface has an address in network {network}; this node has {known}; correct `network`"
    )
