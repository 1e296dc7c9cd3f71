"""One real server, shared by all tests of this folder."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.server import Server, running_server
from tests.ingress.webhooks.receivers import SECRET

IDLE_UNLOAD_S = 6
MAX_STEPS_IN_FILE, MAX_STEPS_IN_ENVIRONMENT = 9, 120


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder: Path = tmp_path_factory.mktemp("server")
    args = {
        "model": "auto",
        "limits": {"max_inference_steps": MAX_STEPS_IN_FILE},
        "generator": {"downscale_to_zero_delay_s": IDLE_UNLOAD_S, "preview_max_fraction": 1.0},
        "webhooks": {"allow_private": True},
        "enhance": {"base_url": "http://127.0.0.1:9/v1", "model": "nobody"},
    }
    environment = {
        "LTX2_WEBHOOKS__SECRET": SECRET,
        "LTX2_LIMITS__MAX_INFERENCE_STEPS": str(MAX_STEPS_IN_ENVIRONMENT),
    }
    with running_server(folder, args, environment) as running:
        yield running
