"""Checks that must hold after every fault."""

import time
from collections.abc import Callable, Collection
from typing import Any

from tests.e2e.server import Server

PATIENCE_S = 300
UNFINISHED_WRITES = (".part", ".tmp")
"""Suffixes of files that a killed Encoder may leave. No url reaches them."""


def assert_nothing_lost(
    server: Server,
    ids: Collection[str],
    may_fail: Collection[str] = (),
    files: Callable[[], set[str]] | None = None,
) -> list[dict[str, Any]]:
    """Every task has ended: completed with its files, or failed with one of the codes in `may_fail`.

    No finished file exists without a completed row. `files` lists the files if they are not in the server's folder.
    Returns the polled bodies in the order of `ids`.
    """
    bodies = [server.wait(task_id) for task_id in ids]
    for body in bodies:
        if body["status"] == "failed":
            assert body["error_code"] in may_fail, body
            assert body["error"]
            continue
        video = server.client.get(body["url"])
        assert video.status_code == 200, body
        assert len(video.content) == body["size_bytes"], body
        assert server.client.get(body["poster_url"]).status_code == 200, body
    everything = [server.poll(task_id) for task_id in server.submitted]
    completed = {body["task_id"] for body in everything if body["status"] == "completed"}
    assert (files or server.files)() == {f"ltx2_{task_id}.{kind}" for task_id in completed for kind in ("mp4", "jpg")}
    return bodies


def eventually(condition: Callable[[], Any], what: str) -> Any:
    """What `condition` returns, once that is true. `what` is said of a server for which it does not become true."""
    deadline = time.monotonic() + PATIENCE_S
    while not (found := condition()):
        assert time.monotonic() < deadline, what
        time.sleep(0.02)
    return found
