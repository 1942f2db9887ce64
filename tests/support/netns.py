"""Other machines: network namespaces joined to this one by a bridge, each with its own addresses."""

import ipaddress
import itertools
import json
import os
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from tests.support.process import Result, run

NAME_PREFIX = "ent"
TEST_NET = ipaddress.ip_network("198.18.0.0/15")
counter = itertools.count()


@dataclass(frozen=True, slots=True)
class Machine:
    """One namespace. `prefix` goes before a command to run it there; `address` is what the server sees."""

    name: str
    address: str

    @property
    def prefix(self) -> tuple[str, ...]:
        """`ip netns exec NAME`."""
        return ("ip", "netns", "exec", self.name)

    def run(self, args: Sequence[str], *, timeout_s: float = 60.0, check: bool = True) -> Result:
        """Run a command on this machine."""
        return run(args, prefix=self.prefix, timeout_s=timeout_s, check=check)


@dataclass(frozen=True, slots=True)
class Network:
    """A bridge on this host and the machines on it. Servers listen on `host_address`."""

    bridge: str
    host_address: str
    machines: tuple[Machine, ...]


def loopback_addresses(count: int) -> list[str]:
    """127.0.0.2, 127.0.0.3, …: source addresses on loopback for clients that can bind (curl --interface)."""
    return [str(ipaddress.ip_address("127.0.0.1") + number) for number in range(1, count + 1)]


def remove_stale() -> None:
    """Remove namespaces and bridges of test processes that no longer exist (killed before they could clean up)."""
    names = [line.split()[0] for line in run(["ip", "netns", "list"]).stdout.splitlines() if line.strip()]
    for name in names:
        if owner_is_gone(name):
            run(["ip", "netns", "del", name], check=False)
    for link in json.loads(run(["ip", "-json", "link", "show", "type", "bridge"]).stdout or "[]"):
        if owner_is_gone(link.get("ifname", "")):
            run(["ip", "link", "del", link["ifname"]], check=False)


def owner_is_gone(name: str) -> bool:
    """True for one of our names whose process id, its second part, does not exist."""
    parts = name.split("-")
    ours = len(parts) >= 3 and parts[0] == NAME_PREFIX and parts[1].isdigit()
    return ours and not os.path.exists(f"/proc/{parts[1]}")


def free_network() -> ipaddress.IPv4Network:
    """A /24 in the range for benchmarks (RFC 2544) that no interface uses."""
    used = {
        ipaddress.ip_interface(f"{address['local']}/24").network
        for link in json.loads(run(["ip", "-json", "-4", "address"]).stdout)
        for address in link.get("addr_info", [])
    }
    choices = [net for net in TEST_NET.subnets(new_prefix=24) if net not in used]
    picked = random.choice(choices)
    assert isinstance(picked, ipaddress.IPv4Network)
    return picked


def build(bridge: str, net: ipaddress.IPv4Network, names: Sequence[str]) -> Network:
    """Make the bridge, the namespaces and the veth pairs between them."""
    hosts = net.hosts()
    host = next(hosts)
    run(["ip", "link", "add", bridge, "type", "bridge"])
    run(["ip", "address", "add", f"{host}/24", "dev", bridge])
    run(["ip", "link", "set", bridge, "up"])
    machines = []
    for number, (name, address) in enumerate(zip(names, hosts, strict=False)):
        run(["ip", "netns", "add", name])
        outer = f"{bridge.replace(NAME_PREFIX, 'v', 1)}-{number}"
        run(["ip", "link", "add", outer, "type", "veth", "peer", "name", "eth0", "netns", name])
        run(["ip", "link", "set", outer, "master", bridge, "up"])
        for command in (
            ["link", "set", "lo", "up"],
            ["address", "add", f"{address}/24", "dev", "eth0"],
            ["link", "set", "eth0", "up"],
            ["route", "add", "default", "via", str(host)],
        ):
            run(["ip", "-netns", name, *command])
        machines.append(Machine(name, str(address)))
    return Network(bridge, str(host), tuple(machines))


@contextmanager
def network(count: int = 1) -> Iterator[Network]:
    """`count` machines (at most 200) on one network with this host; everything is removed at the end, failures
    included.
    """
    remove_stale()
    tag = f"{NAME_PREFIX}-{os.getpid()}-{next(counter)}"
    names = [f"{tag}-{number}" for number in range(count)]
    bridge = tag[:15]
    try:
        yield build(bridge, free_network(), names)
    finally:
        for name in names:
            run(["ip", "netns", "del", name], check=False)
        run(["ip", "link", "del", bridge], check=False)
