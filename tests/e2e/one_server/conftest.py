"""One real server, shared by all tests of this folder."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.server import Server, running_server
from tests.ingress.webhooks.receivers import SECRET

IDLE_UNLOAD_S = 6


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder: Path = tmp_path_factory.mktemp("server")
    args = {
        "model": "auto",
        "generator": {"downscale_to_zero_delay_s": IDLE_UNLOAD_S, "preview_max_fraction": 1.0},
        "webhooks": {"allow_private": True},
        "enhance": {"base_url": "http://127.0.0.1:9/v1", "model": "nobody"},
    }
    with running_server(folder, args, {"LTX2_WEBHOOKS__SECRET": SECRET}) as running:
        yield running
