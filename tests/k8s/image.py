"""The image as a container sees it, made from this clone: /opt/ltx2, /srv/ltx2 and the Dockerfile's variables."""

import shlex
import sys
from pathlib import Path

from tests.e2e.server import ROOT

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
VENV = Path(sys.prefix)
SETUP = """
set -e
pod=$1; shift
mount -t tmpfs -o mode=755 tmpfs /opt
mkdir -p /opt/ltx2
mount --rbind {venv} /opt/ltx2
case {root} in /tmp/*) mkdir -p "$pod/tmp"{below}; mount --rbind {root} "$pod/tmp"{below};; esac
mount -t tmpfs -o mode=755 tmpfs /srv
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /srv/ltx2/data
mount --bind "$pod/hosts" /etc/hosts
mount --bind "$pod/../../resolv.conf" /etc/resolv.conf
{mounts}
mount --rbind "$pod/tmp" /tmp
cd /srv/ltx2
exec "$@"
"""
"""Runs in new namespaces before the container's command. The clone stays visible under its own path."""


def image_environment() -> dict[str, str]:
    """The ENV variables of the Dockerfile's base stage, and the path of this clone's modules."""
    stages = (ROOT / "Dockerfile").read_text().replace("\\\n", " ").split("\nFROM ")
    (text,) = [stage for stage in stages if stage.split("\n", 1)[0].endswith(" AS server")]
    found = {"PATH": PATH}
    for line in text.splitlines():
        if line.startswith("ENV "):
            for each in shlex.split(line.removeprefix("ENV ")):
                name, value = each.split("=", 1)
                found[name] = value.replace(f"${name}", found.get(name, ""))
    return {**found, "PYTHONPATH": str(ROOT)}


def setup_script(mounts: list[tuple[str | None, str]]) -> str:
    """The script that mounts a folder of this machine, or a tmpfs for None, at each path of the container.

    /tmp is mounted last, because it hides the source folders.
    """
    below = str(ROOT).removeprefix("/tmp") if str(ROOT).startswith("/tmp/") else ""
    lines = []
    for source, target in mounts:
        place = f'"$pod/tmp"{target.removeprefix("/tmp")}' if target.startswith("/tmp/") else target
        what = "-t tmpfs tmpfs" if source is None else f"--bind {source}"
        lines.append(f"mkdir -p {place}; mount {what} {place}")
    return SETUP.format(venv=VENV, root=ROOT, below=below, mounts="\n".join(lines))
