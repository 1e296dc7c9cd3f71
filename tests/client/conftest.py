import pytest

from ltx2_client import Client
from tests.client.server import serve


@pytest.fixture
def server(tmp_path):
    folder = tmp_path / "server"
    folder.mkdir()
    with serve(folder) as running:
        yield running


@pytest.fixture
def client(server):
    with Client(server.url, retry_timeout_s=20, poll_interval_s=0.05) as connected:
        yield connected
