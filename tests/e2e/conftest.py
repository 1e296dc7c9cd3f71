"""One real server for the tests that do not need one of their own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.server import Server, running_server

IDLE_UNLOAD_S = 6


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder: Path = tmp_path_factory.mktemp("server")
    with running_server(folder, {"generator": {"downscale_to_zero_delay_s": IDLE_UNLOAD_S}}) as running:
        yield running
