"""Webhook receivers on real ports of 127.0.0.1, and ended tasks for them."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from standardwebhooks import Webhook

SECRET = "whsec_" + "bGlnaHRob3VzZXMgc2hpbmUgYXQgbmlnaHQ="
OLD_SECRET = "whsec_" + "c3VuIHJpc2VzIG92ZXIgdGhlIG9jZWFu"


@dataclass(frozen=True)
class Answer:
    """The response of a receiver to a POST."""

    status: int = 204
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Message:
    """A received POST."""

    path: str
    headers: dict[str, str]
    body: bytes

    def verified(self, secret: str = SECRET) -> dict[str, Any]:
        """The payload, verified by the library of Standard Webhooks."""
        return dict(Webhook(secret).verify(self.body, self.headers))


class Receiver:
    """Stores received messages and sends the given answers. The last answer is repeated."""

    def __init__(self, *answers: Answer, tls: ssl.SSLContext | None = None) -> None:
        self.messages: list[Message] = []
        self._answers = list(answers) or [Answer()]
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                receiver.messages.append(Message(self.path, headers, body))
                answer = receiver._next()
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.end_headers()

            def log_message(self, *arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_port
        self._scheme = "http" if tls is None else "https"
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)

    def url(self, host: str = "127.0.0.1") -> str:
        return f"{self._scheme}://{host}:{self.port}/ended?token=1"

    def _next(self) -> Answer:
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]

    @contextlib.contextmanager
    def serving(self) -> Iterator["Receiver"]:
        thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            thread.join()
            self._server.server_close()


@contextlib.contextmanager
def silent_port() -> Iterator[int]:
    """A port that accepts connections and sends nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@dataclass
class Flooding:
    """A port that sends the same content repeatedly, and the number of bytes that were read."""

    port: int
    sent_bytes: int = 0


@contextlib.contextmanager
def flooding_port(content: bytes, *, endless: bool = True) -> Iterator[Flooding]:
    """Answer with `content`, repeatedly or once, until the client closes the connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        flooding = Flooding(listener.getsockname()[1])

        def flood() -> None:
            connection, _ = listener.accept()
            with connection, contextlib.suppress(OSError):
                connection.recv(65536)
                while True:
                    connection.sendall(content)
                    flooding.sent_bytes += len(content)
                    if not endless:
                        return

        thread = threading.Thread(target=flood)
        thread.start()
        yield flooding
        thread.join()


@contextlib.contextmanager
def endless_port() -> Iterator[int]:
    """Answer 200 with a body that ends only when the client closes the connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=_answer_endlessly, args=(listener,))
        thread.start()
        yield listener.getsockname()[1]
        thread.join()


def _answer_endlessly(listener: socket.socket) -> None:
    connection, _ = listener.accept()
    with connection, contextlib.suppress(OSError):
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000000\r\n\r\n")
        while True:
            connection.sendall(b"x" * 65536)
