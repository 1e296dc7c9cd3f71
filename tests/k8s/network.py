"""A private network for pods: a bridge in a private namespace, and a namespace with one address for each pod.

Nothing inside can reach the outside. Only a process that enters a namespace (`entered`) can reach the inside.
"""

import ctypes
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address
from pathlib import Path
from typing import Self

CLONE_NEWNET = 0x40000000
SUBNET = "10.244.0.0/16"
LIBC = ctypes.CDLL(None, use_errno=True)
PATIENCE_S = 10.0


class Holder:
    """A process that only holds namespaces, like a pod's pause container."""

    def __init__(self, *kinds: str) -> None:
        options = [f"--{kind}" for kind in kinds]
        self._process = subprocess.Popen(
            ["unshare", *options, "sleep", "infinity"], stdin=subprocess.DEVNULL, start_new_session=True
        )
        deadline = time.monotonic() + PATIENCE_S
        while Path(f"/proc/{self.pid}/comm").read_text().strip() != "sleep":
            assert time.monotonic() < deadline
            assert self._process.poll() is None, "this machine gives no namespaces"
            time.sleep(0.01)

    @property
    def pid(self) -> int:
        return self._process.pid

    def run(self, *command: str, stdin: str | None = None) -> str:
        """Run a command in its network."""
        done = subprocess.run(
            ["nsenter", f"--net=/proc/{self.pid}/ns/net", f"--uts=/proc/{self.pid}/ns/uts", *command],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


class Network:
    """The bridge. The node itself has the first address; pods get the next ones, each used once."""

    def __init__(self) -> None:
        self.node = Holder("net", "uts")
        self._next = IPv4Address("10.244.0.1")
        self._count = 0
        self.node.run("ip", "link", "add", "cni0", "type", "bridge")
        self.node.run("ip", "addr", "add", f"{self._take()}/16", "dev", "cni0")
        self.node.run("ip", "link", "set", "cni0", "up")
        self.node.run("ip", "link", "set", "lo", "up")

    def join(self, holder: Holder) -> str:
        """Connect a namespace. Returns its address."""
        address, self._count = self._take(), self._count + 1
        end = f"veth{self._count}"
        self.node.run("ip", "link", "add", end, "type", "veth", "peer", "name", "eth0", "netns", str(holder.pid))
        self.node.run("ip", "link", "set", end, "master", "cni0", "up")
        holder.run("ip", "link", "set", "lo", "up")
        holder.run("ip", "addr", "add", f"{address}/16", "dev", "eth0")
        holder.run("ip", "link", "set", "eth0", "up")
        holder.run("ip", "route", "add", "default", "via", "10.244.0.1")
        return address

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.node.close()

    def _take(self) -> str:
        taken, self._next = str(self._next), self._next + 1
        return taken


@contextmanager
def entered(holder: Holder) -> Iterator[None]:
    """Switch to its network, for this thread and for threads that it starts in this context."""
    with Path("/proc/thread-self/ns/net").open() as before, Path(f"/proc/{holder.pid}/ns/net").open() as there:
        _set(there.fileno())
        try:
            yield
        finally:
            _set(before.fileno())


def _set(namespace: int) -> None:
    if LIBC.setns(namespace, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")
