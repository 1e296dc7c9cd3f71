"""A real receiver of OTLP over HTTP that stores every received span."""

import gzip
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

PATIENCE_S = 60.0


@dataclass(frozen=True)
class Seen:
    """One span, as plain values. Times are seconds since the epoch."""

    name: str
    deployment: str
    trace_id: str
    span_id: str
    parent_id: str
    began_at: float
    ended_at: float
    failed: bool
    kind: int
    attributes: dict[str, Any]


@dataclass
class Receiver:
    """The received spans, and the receiver's address."""

    endpoint: str
    spans: list[Seen] = field(default_factory=list)
    came: threading.Condition = field(default_factory=threading.Condition)

    def wait_for(self, *names: str, trace_id: str | None = None) -> dict[str, Seen]:
        """Wait until spans of all these names have arrived. Returns the last one of each."""
        deadline = time.monotonic() + PATIENCE_S
        with self.came:
            while True:
                found = {span.name: span for span in self.spans if trace_id in (None, span.trace_id)}
                if set(names) <= found.keys():
                    return found
                assert self.came.wait(deadline - time.monotonic()), f"{set(names) - found.keys()} did not come"

    def take(self, request: ExportTraceServiceRequest) -> None:
        with self.came:
            for group in request.resource_spans:
                deployment = _values(group.resource.attributes)["ltx2.deployment"]
                for scope in group.scope_spans:
                    self.spans += [_read(span, deployment) for span in scope.spans]
            self.came.notify_all()


@contextmanager
def receiving() -> Iterator[Receiver]:
    """A receiver on a free port of 127.0.0.1."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = False  # so that closing waits for the last request
    receiver = Receiver(f"http://127.0.0.1:{server.server_port}/v1/traces")
    server.receiver = receiver  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        assert self.path == "/v1/traces"
        self.server.receiver.take(ExportTraceServiceRequest.FromString(body))  # type: ignore[attr-defined]
        self.send_response(200)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Write no log."""


def _read(span: Any, deployment: str) -> Seen:
    return Seen(
        name=span.name,
        deployment=deployment,
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        began_at=span.start_time_unix_nano / 1e9,
        ended_at=span.end_time_unix_nano / 1e9,
        failed=span.status.code == 2,
        kind=span.kind,
        attributes=_values(span.attributes),
    )


def _values(attributes: Any) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in attributes}
