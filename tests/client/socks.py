"""A SOCKS 5 proxy (RFC 1928) that accepts every connection, for the duration of a test."""

import contextlib
import socket
import socketserver
import threading
from collections.abc import Iterator

CONNECT_DONE = b"\x05\x00\x00\x01\0\0\0\0\0\0"


class Handler(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        client = self.request
        client.recv(2 + 255)
        client.sendall(b"\x05\x00")
        head = client.recv(5)
        host = client.recv(head[4]).decode() if head[3] == 3 else socket.inet_ntoa(head[4:] + client.recv(3))
        port = int.from_bytes(client.recv(2))
        self.server.asked.append((host, port))
        with socket.create_connection((host, port)) as upstream:
            client.sendall(CONNECT_DONE)
            back = threading.Thread(target=_copy, args=(upstream, client))
            back.start()
            _copy(client, upstream)
            back.join()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


class SocksServer(socketserver.ThreadingTCPServer):
    daemon_threads = True
    asked: list[tuple[str, int]]


@contextlib.contextmanager
def socks_proxy() -> Iterator[SocksServer]:
    with SocksServer(("127.0.0.1", 0), Handler) as server:
        server.asked = []
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()
