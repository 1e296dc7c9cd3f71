"""A real S3 server for the tests (moto's), and a proxy in front of it that can simulate faults."""

import contextlib
import http.client
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit
from uuid import uuid4

import boto3
import pytest
from moto.server import ThreadedMotoServer

REGION = "us-east-1"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
HOP_BY_HOP = {"connection", "transfer-encoding", "keep-alive", "expect", "server", "date"}


@contextlib.contextmanager
def s3_server() -> Iterator[str]:
    """Run the server. Yields its url."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


def give_credentials(patch: pytest.MonkeyPatch) -> None:
    """Set the credentials in the environment, as an operator does."""
    for name, value in CREDENTIALS.items():
        patch.setenv(name, value)


def client_of(endpoint: str):
    return boto3.client("s3", endpoint_url=endpoint, region_name=REGION)


def new_bucket(endpoint: str) -> str:
    """Create a new bucket. Needs credentials."""
    bucket = f"bucket-{uuid4().hex}"
    client = client_of(endpoint)
    client.create_bucket(Bucket=bucket)
    client.close()
    return bucket


class Handler(BaseHTTPRequestHandler):
    """One connection to the proxy. A fault returns whether it has handled the request."""

    protocol_version = "HTTP/1.1"
    front: "Front"

    def _take(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("content-length") or 0))
        self.front.seen.append(self.command)
        if self.front.closing.is_set():
            self.close_connection = True
            return
        if not self.front.fault(self):
            self.answer(*self.ask())

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _take  # noqa: N815

    @property
    def copies(self) -> bool:
        """Whether the request is a copy within the bucket."""
        return "x-amz-copy-source" in self.headers

    @property
    def conditional(self) -> bool:
        """Whether the request may create the object only if it does not exist."""
        return "if-none-match" in self.headers

    def ask(self) -> tuple[int, list[tuple[str, str]], bytes]:
        """Forward the request to the server. Returns its status, headers and content."""
        behind = http.client.HTTPConnection(self.front.behind, timeout=60)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP_BY_HOP}
        behind.request(self.command, self.path, self.body or None, headers)
        answer = behind.getresponse()
        content = answer.read()
        behind.close()
        return answer.status, answer.getheaders(), content

    def answer(self, status: int, headers: list[tuple[str, str]], content: bytes) -> bool:
        """Send this response."""
        self.send_response(status)
        for name, value in headers:
            if name.lower() not in HOP_BY_HOP:
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)
        return True

    def refuse(self, status: int, code: str) -> bool:
        """Send an S3 error response."""
        content = f"<Error><Code>{code}</Code><Message>told to</Message></Error>".encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
        return True

    def say_nothing(self) -> bool:
        """Keep the connection open and never answer."""
        self.front.closing.wait(60)
        self.close_connection = True
        return True

    def hang_up(self) -> bool:
        """Close the connection without an answer."""
        self.close_connection = True
        return True

    def break_off(self, content: bytes) -> bool:
        """Announce one byte more than is sent."""
        self.send_response(200)
        self.send_header("Content-Length", str(len(content) + 1))
        self.end_headers()
        self.wfile.write(content)
        self.close_connection = True
        return True

    def log_message(self, *_: object) -> None:
        """Write no log."""


@dataclass
class Front:
    """The proxy in front of the server: its url, its faults, and the methods that it has received."""

    behind: str
    url: str = ""
    fault: Callable[[Handler], bool] = lambda _request: False
    seen: list[str] = field(default_factory=list)
    closing: threading.Event = field(default_factory=threading.Event)


@contextlib.contextmanager
def front_of(endpoint: str, port: int = 0) -> Iterator[Front]:
    """Run a proxy on a port that refuses connections before and afterwards."""
    front = Front(urlsplit(endpoint).netloc)
    server = ThreadingHTTPServer(("127.0.0.1", port), type("FrontHandler", (Handler,), {"front": front}))
    server.daemon_threads = True
    front.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    yield front
    front.closing.set()
    server.shutdown()
    server.server_close()
