"""Take a Ray node out of service without losing what runs on it: `python -m deployments.leave SECONDS`.

Kubernetes runs it before it ends a worker's pod (k8s/overlays/production): Ray itself gives what runs 30 s from SIGTERM
on (measured, 2.60), and a video takes minutes. A node that is drained gets no replica any more; Serve starts others
elsewhere, and those here finish what they have and end.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable

import psutil

REPLICA = "ray::ServeReplica"
"""What Ray calls the process of a replica begins so."""
LOOK_EVERY_S = 1.0
MOST_SILENT = 30
"""A head that does not answer so many looks has gone with the cluster: nobody is left to end the replicas."""
LINGER_S = 5.0
"""The last clip lies in this node's object store until an Encoder has fetched it."""


def drain(seconds: int) -> None:
    """Ask Ray to take this node out of service. Raises CalledProcessError where it refuses or does not answer."""
    ray = shutil.which("ray") or "ray"
    reason = ("--reason=DRAIN_NODE_REASON_PREEMPTION", "--reason-message=its pod ends")
    subprocess.run([ray, "drain-node", *reason, f"--deadline-remaining-seconds={seconds}"], check=True)  # noqa: S603


def wait_for_end(names: Callable[[], Iterable[str]], head_answers: Callable[[], bool], seconds: float) -> bool:
    """Wait until no replica runs here; False if some still do after `seconds`, or once the head is gone."""
    give_up, silent = time.monotonic() + seconds, 0
    while any(name.startswith(REPLICA) for name in names()):
        silent = 0 if head_answers() else silent + 1
        if silent > MOST_SILENT or time.monotonic() > give_up:
            return False
        time.sleep(LOOK_EVERY_S)
    return True


def process_names() -> list[str]:
    """What the processes are called; in a pod they are the pod's own."""
    return [" ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"])]


def head_answers() -> bool:
    """Whether somebody listens where KubeRay says that the head is."""
    host, _, port = os.environ["RAY_ADDRESS"].rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=2).close()
    except OSError:
        return False
    return True


def main() -> int:
    """Drain, then wait. 1 if replicas were left."""
    seconds = int(sys.argv[1])
    drain(seconds)
    ended = wait_for_end(process_names, head_answers, seconds)
    time.sleep(LINGER_S)
    return 0 if ended else 1


if __name__ == "__main__":
    sys.exit(main())
