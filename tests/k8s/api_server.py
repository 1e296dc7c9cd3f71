"""The part of Kubernetes' API that Ray's autoscaler uses: it reads a RayCluster and its pods, and patches the
RayCluster.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.certificates import certificate, server_context
from tests.k8s.kubelet import Pod
from tests.k8s.kuberay import Operator
from tests.k8s.network import Holder, entered
from tests.k8s.pods import Object

PORT = 6443
TOKEN = "the-token-of-the-autoscalers-service-account"


class Handler(BaseHTTPRequestHandler):
    """Handles requests. `operator` holds the objects."""

    protocol_version = "HTTP/1.1"
    operator: Operator

    def do_GET(self) -> None:
        if not self._may_ask():
            return
        url = urlsplit(self.path)
        kind, name = _target(url.path)
        pods = _shown_pods(self.operator)
        if kind == "rayclusters":
            self._answer(self._cluster(name))
        elif name:
            self._answer(next((pod for pod in pods if pod["metadata"]["name"] == name), None))
        else:
            label, value = parse_qs(url.query)["labelSelector"][0].split("=")
            found = [pod for pod in pods if pod["metadata"]["labels"].get(label) == value]
            self._answer({"kind": "PodList", "metadata": {"resourceVersion": "1"}, "items": found})

    def do_PATCH(self) -> None:
        patch = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        kind, name = _target(urlsplit(self.path).path)
        if not self._may_ask() or kind != "rayclusters":
            return
        cluster = self._cluster(name)
        for operation in patch if cluster else []:
            assert operation["op"] == "replace", operation
            *parents, last = operation["path"].strip("/").split("/")
            place: Any = cluster
            for each in parents:
                place = place[int(each)] if isinstance(place, list) else place[each]
            place[last] = operation["value"]
        self._answer(cluster)

    def _may_ask(self) -> bool:
        if self.headers.get("Authorization") == f"Bearer {TOKEN}":
            return True
        self._answer({"kind": "Status"}, HTTPStatus.UNAUTHORIZED)
        return False

    def _cluster(self, name: str) -> Object | None:
        return next((each.made for each in self.operator.clusters if each.name == name), None)

    def _answer(self, found: Object | None, status: HTTPStatus = HTTPStatus.OK) -> None:
        content = json.dumps(found or {"kind": "Status"}).encode()
        self.send_response(HTTPStatus.NOT_FOUND if found is None else status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Write no log."""


def _target(path: str) -> tuple[str, str]:
    """The kind and the name in an object's path. The name is empty in a list's path."""
    kind, _, name = path.split("/namespaces/ltx2/")[1].partition("/")
    return kind, name


def _shown_pods(operator: Operator) -> list[Object]:
    waiting = [made for cluster in operator.clusters for made in cluster.waiting]
    return [*map(_running, operator.pods), *map(_waiting, waiting)]


def _running(pod: Pod) -> Object:
    metadata = {**pod.made["metadata"], "resourceVersion": "1"}
    if pod.leaving:
        metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    status = {"podIP": pod.address, "phase": "Running", "containerStatuses": [{"state": {pod.ray.state: {}}}]}
    return {**pod.made, "metadata": metadata, "status": status}


def _waiting(made: Object) -> Object:
    return {**made, "metadata": {**made["metadata"], "resourceVersion": "1"}, "status": {"phase": "Pending"}}


@contextmanager
def running_api_server(holder: Holder, address: str, folder: Path, operator: Operator) -> Iterator[str]:
    """Serve at `address` in the network of `holder`. Yields the certificate to trust."""
    file = certificate(address, folder)
    with entered(holder):
        server = ThreadingHTTPServer(("0.0.0.0", PORT), type("ApiHandler", (Handler,), {"operator": operator}))
    server.daemon_threads = True
    server.socket = server_context(file).wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()
    try:
        yield file.read_text()
    finally:
        server.shutdown()
        server.server_close()
