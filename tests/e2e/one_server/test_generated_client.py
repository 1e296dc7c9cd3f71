"""A client that openapi-python-client generates from /openapi.json, without a warning, gets a video from the server."""

import importlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deployments.ingress.request_body.openapi import EXAMPLE_IMAGE
from tests.e2e.server import QUICK, TASK_TIMEOUT_S, Server

MAX_NAME_CHARS = 40


@pytest.fixture(scope="module")
def generated(server: Server, tmp_path_factory: pytest.TempPathFactory):
    """The generated package, created as its users create it."""
    folder: Path = tmp_path_factory.mktemp("generated")
    document = server.client.get("/openapi.json").json()
    assert document["servers"] == [{"url": server.url}]
    (folder / "openapi.json").write_text(json.dumps(document))
    program = [sys.executable, "-m", "openapi_python_client", "generate", "--path", "openapi.json", "--meta", "none"]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # the generator formats with ruff
    options = ["--fail-on-warning", "--output-path", "ltx2_generated"]
    made = subprocess.run(
        [*program, *options],
        cwd=folder,
        env={**os.environ, "PATH": path},
        check=False,
        capture_output=True,
        text=True,
    )
    assert made.returncode == 0, made.stdout
    assert "WARNING" not in made.stdout
    sys.path.insert(0, str(folder))
    yield importlib.import_module("ltx2_generated")
    sys.path.remove(str(folder))


def call(name: str, **arguments):
    return importlib.import_module(f"ltx2_generated.api.{name}").sync(**arguments)


def test_a_generated_client_makes_and_downloads_a_video(server: Server, generated) -> None:
    models = importlib.import_module("ltx2_generated.models")
    body = models.SubmitImageToVideoJsonBody.from_dict({**QUICK, "image": EXAMPLE_IMAGE})
    too_narrow = models.SubmitTextToVideoBody.from_dict({**QUICK, "width": 65})
    with generated.Client(base_url=server.url, timeout=60, raise_on_unexpected_status=True) as client:
        submitted = call("video.submit_image_to_video", client=client, body=body)
        end = time.monotonic() + TASK_TIMEOUT_S
        while (task := call("tasks.get_task", client=client, task_id=submitted.task_id)).status == "processing":
            assert time.monotonic() < end
            time.sleep(0.2)
        file = call("outputs.download_file", client=client, filename=f"ltx2_{submitted.task_id}.mp4")
        refusal = call("video.submit_text_to_video", client=client, body=too_narrow)
    assert task.status == "completed"
    assert (refusal.field, refusal.given) == ("width", "65")
    assert file.payload.read()[4:8] == b"ftyp"


def test_names_are_unique_and_plain(server: Server) -> None:
    document = server.client.get("/openapi.json").json()
    operations = [each for methods in document["paths"].values() for each in methods.values()]
    names = [operation["operationId"] for operation in operations]
    assert len(names) == len(set(names))
    assert all(len(name) <= MAX_NAME_CHARS and name.replace("_", "").isalnum() for name in names)
    titles = [schema["title"] for schema in document["components"]["schemas"].values() if "title" in schema]
    assert sorted(titles) == sorted(set(titles))
    assert set(titles) == set(document["components"]["schemas"]) - set(untitled(document))
    for operation in operations:
        kinds = list(operation.get("requestBody", {}).get("content", {}))
        assert kinds in ([], ["application/json"], ["multipart/form-data", "application/json"])


def untitled(document: dict) -> list[str]:
    return [name for name, schema in document["components"]["schemas"].items() if "title" not in schema]
