"""The folder on this host for the files of Ray and HAProxy: it belongs to this user, and no other user can enter it.

By default HAProxy's files are in /tmp/haproxy-serve, which belongs to the user who started a server first. Every local
user can send commands to its admin socket there (Ray 2.60, haproxy_templates.py: `mode 666 level admin`).
"""

import os
import stat
from collections.abc import Iterator, Mapping, MutableMapping
from pathlib import Path

HAPROXY_FILES = {
    "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": "haproxy.cfg",
    "RAY_SERVE_HAPROXY_SOCKET_PATH": "admin.sock",
    "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": "",
    "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": "server-state",
    "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": "metrics.sock",
}
"""Each variable, and the name of its file in the folder. Serve inserts a folder named after the node id."""
DEFAULT_FOLDER = "/tmp/haproxy-serve"  # noqa: S108  # Ray's default
SOCKETS = ("RAY_SERVE_HAPROXY_SOCKET_PATH", "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH")
MAX_SOCKET_PATH = 107
NODE_ID = 56
TEMPORARY = len(".4194304.tmp")
"""HAProxy binds a socket under a temporary name with its process id, then renames it. Length of that suffix."""


def own_folder() -> Path:
    """The folder of this user. Several servers can share it: their files are in folders named after their nodes."""
    return Path(f"/tmp/ltx2-{os.getuid()}")  # noqa: S108  # short, for socket paths; make_own_folder checks the owner


def use_own_folder(environment: MutableMapping[str, str]) -> None:
    """Make HAProxy use the own folder, and Ray too when its default folder has files of another user.

    Variables that are set already keep their values.
    """
    folder = own_folder()
    chosen = {name: str(folder / file) for name, file in HAPROXY_FILES.items()}
    if not _is_usable(_ray_folder(environment)):
        chosen["RAY_TMPDIR"] = str(folder)
    for name, value in chosen.items():
        environment.setdefault(name, value)


def make_own_folder() -> None:
    """Create the folder, or check the existing one. Raises OSError when it belongs to another user."""
    folder = own_folder()
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise PermissionError(f"{folder} is not a folder of user {os.getuid()}")
    folder.chmod(0o700)


def _ray_folder(environment: Mapping[str, str]) -> Path:
    """The folder that holds Ray's sessions."""
    return Path(environment.get("RAY_TMPDIR") or environment.get("TMPDIR") or "/tmp") / "ray"  # noqa: S108  # Ray's rule


def folder_problems(environment: Mapping[str, str]) -> Iterator[str]:
    """Yield a message for each folder or socket path that Ray or HAProxy could not use."""
    used = [environment.get(name, "") for name in (*HAPROXY_FILES, "RAY_TMPDIR")]
    if any(Path(each).is_relative_to(own_folder()) for each in used):
        try:
            make_own_folder()
        except OSError as error:
            yield f"{error}; remove it, or name others with RAY_TMPDIR, {', '.join(HAPROXY_FILES)}"
            return
    if environment.get("RAY_SERVE_ENABLE_HA_PROXY") == "1":
        yield from _haproxy_problems(environment)
    folder = _ray_folder(environment)
    if not _is_usable(folder):
        yield f"{folder} cannot be used by user {os.getuid()}, or has files of another; name a folder with RAY_TMPDIR"


def _haproxy_problems(environment: Mapping[str, str]) -> Iterator[str]:
    paths = {name: environment.get(name, f"{DEFAULT_FOLDER}/{file}") for name, file in HAPROXY_FILES.items()}
    folders = {name: Path(path) if name.endswith("_BASE") else Path(path).parent for name, path in paths.items()}
    for folder in dict.fromkeys(folders.values()):
        if not os.access(_nearest(folder), os.W_OK | os.X_OK):
            names = ", ".join(name for name, each in folders.items() if each == folder)
            yield f"{folder} cannot be written by user {os.getuid()}; name another folder with {names}"
    for name in SOCKETS:
        length = len(os.fsencode(paths[name])) + 1 + NODE_ID + TEMPORARY
        if length > MAX_SOCKET_PATH:
            longest = MAX_SOCKET_PATH - 1 - NODE_ID - TEMPORARY
            yield f"{name} is {paths[name]!r}, and a socket's path has room for {longest} bytes of it"


def _is_usable(folder: Path) -> bool:
    """Whether Ray can start a session in `folder`: Ray overwrites files that an earlier session has left there."""
    if not folder.exists():
        return os.access(_nearest(folder), os.W_OK | os.X_OK)
    if not os.access(folder, os.W_OK | os.X_OK):
        return False
    return all(each.lstat().st_uid == os.getuid() for each in list(folder.iterdir()))


def _nearest(folder: Path) -> Path:
    """The folder itself, or its nearest parent that exists."""
    return next(each for each in (folder, *folder.parents) if each.exists())
