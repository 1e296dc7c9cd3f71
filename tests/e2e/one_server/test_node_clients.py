"""The packages of OpenAI and of MCP for Node, unchanged, make videos through Ray Serve."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.server import TASK_TIMEOUT_S, Server

PROGRAMS = Path(__file__).parents[1] / "node"
NODE = Path(sys.executable).with_name("node")

pytestmark = pytest.mark.skipif(
    not (NODE.exists() and (PROGRAMS / "node_modules").is_dir()), reason="Node or its packages are not installed"
)


def run(program: str, server: Server) -> Any:
    """What a program prints. It must end well."""
    done = subprocess.run(
        [NODE, PROGRAMS / program, server.url], check=False, capture_output=True, text=True, timeout=TASK_TIMEOUT_S
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_openai_package_for_node_makes_a_video(server: Server) -> None:
    told = run("openai_client.js", server)
    assert told == {
        "status": "completed",
        "size": "128x128",
        "type": "ftyp",
        "refusal": {"status": 422, "param": "size"},
        "deleted": True,
    }


def test_the_mcp_sdk_for_typescript_makes_a_video_and_makes_it_longer(server: Server) -> None:
    told = run("mcp_client.js", server)
    assert {"create_video", "edit_video", "wait_for_video", "create_image_upload", "get_guide"} <= set(told["tools"])
    assert told["statuses"] == ["completed", "completed"]
    assert told["seconds"][1] > 1.5 * told["seconds"][0]
    assert told["type"] == "ftyp"
    assert "size" in told["refusal"]
