"""A hostile tenant in its own process: `python -m tests.ingress.hostile ATTACK URL KEY`, until its input ends.

It prints "begun" when the attack runs. All connections go to 127.0.0.1, and their number is limited.
"""

import contextlib
import io
import socket
import sys
import threading
from collections.abc import Callable
from urllib.parse import urlsplit

import httpx
from PIL import Image

BOMBERS, STALLED, STREAMS, FLOODS = 12, 120, 20, 16
LONGEST_S = 60.0


class Tenant:
    """The tenant Alice."""

    def __init__(self, url: str, key: str) -> None:
        self._address = (urlsplit(url).hostname, urlsplit(url).port)
        self._key = key
        self._client = httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=LONGEST_S)
        self._stopped = threading.Event()
        self._open: list[socket.socket] = []

    def decode(self) -> None:
        """Request estimates for images that are small as files, but expensive to decode."""
        bombs = [_bomb("WEBP", lossless=True), _bomb("PNG")]

        def ask(number: int) -> None:
            while not self._stopped.is_set():
                files = {"image": ("x", bombs[number % 2])}
                with contextlib.suppress(httpx.HTTPError):
                    self._client.post("/v1/video/estimate", data={"prompt": "x"}, files=files)
                self._stopped.wait(0.05)

        self._side_by_side(BOMBERS, ask)

    def hold(self) -> None:
        """Send request bodies that never arrive, and open event streams without reading them."""
        task_id = self._submit()
        for path in ("/v1/video/estimate", "/v1/video/t2v", "/v1/video/async_i2v"):
            for _ in range(STALLED // 3):
                self._send(f"POST {path}", "Content-Length: 1000\r\nContent-Type: multipart/form-data; boundary=x\r\n")
        for _ in range(STREAMS):
            self._send(f"GET /v1/video/tasks/{task_id}/events", "")

    def flood(self) -> None:
        """Set up webhooks whose receivers send interim responses without end."""
        listener = socket.create_server(("127.0.0.1", 0))
        interim = b"HTTP/1.1 100 Continue\r\n\r\n" * 1000

        def answer(_number: int) -> None:
            while not self._stopped.is_set():
                with contextlib.suppress(OSError):
                    connection, _ = listener.accept()
                    with connection:
                        connection.settimeout(1)
                        while not self._stopped.is_set():
                            connection.sendall(interim)

        self._side_by_side(FLOODS, answer)
        for _ in range(FLOODS):
            task_id = self._submit(webhook_url=f"http://127.0.0.1:{listener.getsockname()[1]}/")
            self._client.delete(f"/v1/video/tasks/{task_id}").raise_for_status()

    def _submit(self, **fields: str) -> str:
        answer = self._client.post("/v1/video/async_t2v", json={"prompt": "x", **fields}).raise_for_status()
        return str(answer.json()["task_id"])

    def _send(self, request: str, headers: str) -> None:
        head = f"{request} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {self._key}\r\n{headers}\r\n"
        self._open.append(socket.create_connection(self._address, LONGEST_S))
        self._open[-1].sendall(head.encode())

    @staticmethod
    def _side_by_side(number: int, work: Callable[[int], None]) -> None:
        for each in range(number):
            threading.Thread(target=work, args=(each,), daemon=True).start()


def _bomb(image_format: str, **options: bool) -> bytes:
    """An image with the maximum number of pixels, in a small file."""
    buffer = io.BytesIO()
    Image.new("RGB", (8000, 8000)).save(buffer, image_format, **options)
    return buffer.getvalue()


if __name__ == "__main__":
    attack, *whom = sys.argv[1:]
    getattr(Tenant(*whom), attack)()
    print("begun", flush=True)  # noqa: T201
    sys.stdin.read()
