"""A local server with enough of the Hugging Face hub's API for its real client. It can simulate faults."""

import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REPOSITORY = "someone/small-ltx2"
TAG = "v2"
REVISIONS = ("main", TAG, COMMIT)
UNKNOWN_TOKEN = "Invalid credentials in Authorization header"
"""The real hub's message for an unknown token. There is no code for it."""


@dataclass
class Misbehaviour:
    """The faults that the hub simulates."""

    delay_s: float = 0.0
    """Delay before each file."""
    cut_once: dict[str, int] = field(default_factory=dict)
    """Files whose connection breaks after this number of bytes, the first time."""
    short: dict[str, int] = field(default_factory=dict)
    """Files that are truncated to this number of bytes, with a matching Content-Length."""
    claimed: dict[str, int] = field(default_factory=dict)
    """Files whose size is reported as this value."""
    down: bool = False
    """Answer every request with status 500."""


class FakeHub(ThreadingHTTPServer):
    """A hub with one repository, whose files are those of `folder`. With a `token`, the repository is gated."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder = folder
        self.token: str | None = None
        self.misbehaviour = Misbehaviour()
        self.asked: list[str] = []
        """Requested paths, in order."""
        self.card: dict[str, str] = {}
        """The fields of the repository's card."""
        self.served: list[str] = []
        """Files that were sent, completely or in part."""
        self.ranges: dict[str, str] = {}
        """The Range header of the last request for each file."""

    @property
    def endpoint(self) -> str:
        """The value for HF_ENDPOINT."""
        return f"http://127.0.0.1:{self.server_port}"


@contextmanager
def running(hub: FakeHub) -> Iterator[FakeHub]:
    """Serve in a thread until the end of the block."""
    thread = threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        hub.server_close()
        thread.join()


def revision_of(path: str) -> str | None:
    """The revision in a path of the hub's API, or None."""
    for marker in ("/resolve/", "/tree/", "/revision/"):
        if marker in path:
            return path.split(marker)[1].split("/", maxsplit=1)[0]
    return None


class _Handler(BaseHTTPRequestHandler):
    server: FakeHub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.answer(with_body=False)

    def do_GET(self) -> None:
        self.answer(with_body=True)

    def answer(self, *, with_body: bool) -> None:
        path = self.path.split("?")[0]
        self.server.asked.append(path)
        if (refusal := self.refusal(path)) is not None:
            self.refuse(*refusal)
        elif path.startswith(f"/api/models/{REPOSITORY}/tree/"):
            self.send(json.dumps(self.tree()).encode(), with_body=with_body)
        elif path.startswith("/api/"):
            told = {"id": REPOSITORY, "sha": COMMIT, "siblings": [], "cardData": self.server.card}
            self.send(json.dumps(told).encode(), with_body=with_body)
        else:
            self.send_file(path.split("/resolve/")[1].split("/", 1)[1], with_body=with_body)

    def refusal(self, path: str) -> tuple[int, str] | None:
        """Status and code of the answer to a request that is refused."""
        if self.server.misbehaviour.down:
            return 500, "Down"
        if not path.startswith((f"/api/models/{REPOSITORY}", f"/{REPOSITORY}/resolve/")):
            return 401, "RepoNotFound"
        if (revision := revision_of(path)) and revision not in REVISIONS:
            return 404, "RevisionNotFound"
        token, given = self.server.token, self.headers.get("Authorization")
        if token is None or given == f"Bearer {token}":
            return None
        return (403, "GatedRepo") if given is None else (401, UNKNOWN_TOKEN)

    def tree(self) -> list[dict[str, Any]]:
        files = [file for file in sorted(self.server.folder.rglob("*")) if file.is_file()]
        return [self.entry(str(file.relative_to(self.server.folder)), file.read_bytes()) for file in files]

    def entry(self, name: str, content: bytes) -> dict[str, Any]:
        size = self.server.misbehaviour.claimed.get(name, len(content))
        return {"type": "file", "path": name, "size": size, "oid": hashlib.sha1(content).hexdigest()}

    def send_file(self, name: str, *, with_body: bool) -> None:
        file = self.server.folder / name
        if not file.is_file():
            self.refuse(404, "EntryNotFound")
            return
        content = file.read_bytes()
        if with_body:
            self.server.served.append(name)
            time.sleep(self.server.misbehaviour.delay_s)
            content = content[: self.server.misbehaviour.short.get(name, len(content))]
        cut_at = self.server.misbehaviour.cut_once.pop(name, None) if with_body else None
        self.send(content, with_body=with_body, name=name, cut_at=cut_at)

    def send(self, body: bytes, *, with_body: bool, name: str = "", cut_at: int | None = None) -> None:
        etag = hashlib.sha1(body).hexdigest()
        start = self.start(name)
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        length = len(body) - start
        claimed = length if with_body else self.server.misbehaviour.claimed.get(name, length)
        self.send_header("Content-Length", str(claimed))
        self.send_header("ETag", f'"{etag}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if with_body:
            self.wfile.write(body[start:cut_at])
        if cut_at is not None:
            self.close_connection = True

    def start(self, name: str) -> int:
        """The first byte of the requested range."""
        asked = self.headers.get("Range")
        if not asked or not name:
            return 0
        self.server.ranges[name] = asked
        return int(asked.removeprefix("bytes=").split("-")[0])

    def refuse(self, status: int, code: str) -> None:
        self.send_response(status)
        self.send_header("X-Error-Message" if code == UNKNOWN_TOKEN else "X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_args: object) -> None:
        pass
