"""A Kubernetes on one machine: private networks, the backends, and KubeRay's operator."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.k8s.api_server import PORT, TOKEN, running_api_server
from tests.k8s.backends import running_backends
from tests.k8s.kubelet import Shared
from tests.k8s.kuberay import Operator
from tests.k8s.network import Network
from tests.k8s.scene import GPUS, Scene, running_scene, secret


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """The overlay `production` on nodes with one GPU. The test applies it."""
    folder: Path = tmp_path_factory.mktemp("k8s")
    with Network() as network, running_backends(folder / "backends", network) as backends:
        shared = Shared(folder / "cluster", secrets={"ltx2": secret(backends)}, services=backends.services)
        shared.prepare(backends.address)
        operator = Operator(shared, network, backends, gpus=GPUS)
        shared.api = (backends.address, PORT)
        api_server = running_api_server(backends.holder, backends.address, folder, operator)
        with api_server as certificate, closing(operator):
            shared.account = {"token": TOKEN, "ca.crt": certificate, "namespace": "ltx2"}
            with running_scene(operator, shared, network) as running:
                yield running
