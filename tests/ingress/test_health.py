"""Health: what works, what the model is doing, and what is wrong."""

import json
import re
import shutil

import jsonschema
import pytest

from deployments.ingress.schemas import ErrorBody, Submitted, TaskBody
from models.request.request import RequestLimits
from storage.tasks import GeneratorReplica, ReplicaState
from tests.ingress.conftest import MODEL


def test_a_healthy_server_tells_model_queue_and_versions(box):
    box.submit()
    box.submit()
    box.start()
    answer = box.client.get("/health")
    body = answer.json()
    assert (answer.status_code, body["status"]) == (200, "ok")
    assert body["model"] == {"name": MODEL, "state": "unloaded", "replicas": 0}
    assert body["queue"] == {"queued": 1, "processing": 1}
    assert {"ray", "diffusers", "ltx2-server"} <= body["versions"].keys()


@pytest.mark.parametrize("state", ReplicaState)
def test_the_models_state_is_that_of_its_replica(box, state):
    box.tasks.put_replica(GeneratorReplica("r1", MODEL, state, "a reason", 5, 10))
    box.tasks.put_replica(GeneratorReplica("r2", "another model", ReplicaState.READY))
    model = box.client.get("/health").json()["model"]
    assert (model["state"], model["message"], model["replicas"]) == (state, "a reason", 1)
    assert (model["bytes_done"], model["bytes_total"]) == (5, 10)


def test_the_replica_nearest_to_work_speaks_for_the_model(box):
    box.tasks.put_replica(GeneratorReplica("r1", MODEL, ReplicaState.FAILED))
    box.tasks.put_replica(GeneratorReplica("r2", MODEL, ReplicaState.READY))
    model = box.client.get("/health").json()["model"]
    assert (model["state"], model["replicas"]) == ("ready", 2)


def test_notices_of_the_start_are_shown(open_box):
    assert open_box(notices=("A is not set",)).client.get("/health").json()["notices"] == ["A is not set"]


def unavailable(box) -> str:
    answer = box.client.get("/health")
    assert (answer.status_code, answer.json()["status"]) == (503, "unavailable")
    assert answer.headers["retry-after"]
    return answer.json()["reason"]


def test_a_removed_database_is_503_even_while_its_connections_are_open(box):
    assert box.client.get("/health").status_code == 200
    for file in box.folder.glob("tasks.db*"):
        file.unlink()
    assert "task store" in unavailable(box)


def test_a_damaged_database_is_503(box):
    box.tasks.close()
    for file in box.folder.glob("tasks.db*"):
        file.write_bytes(b"no database" * 1000)
    assert "task store" in unavailable(box)


@pytest.mark.parametrize("place", ["store", "store/outputs"])
def test_an_output_folder_that_cannot_be_written_is_503(box, place):
    box.client.get("/health")
    shutil.rmtree(box.folder / "store", ignore_errors=True)
    (box.folder / place).parent.mkdir(exist_ok=True)
    (box.folder / place).write_text("a file in its place")
    assert "output store" in unavailable(box)


# -- what OpenAPI documents


@pytest.fixture
def openapi(open_box) -> dict:
    box = open_box(limits=RequestLimits(max_side_px=1024, max_frames=97, max_image_bytes=12345))
    answer = box.client.get("/openapi.json")
    assert answer.status_code == 200
    return json.loads(answer.text)


def test_openapi_describes_the_one_error_body(openapi):
    described = openapi["components"]["schemas"]["ErrorBody"]["properties"]
    assert set(described) == set(ErrorBody.model_fields)
    for path, status in (
        ("/v1/video/async_t2v", "422"),
        ("/v1/video/async_i2v", "413"),
        ("/v1/video/t2v", "429"),
        ("/v1/video/i2v", "503"),
    ):
        content = openapi["paths"][path]["post"]["responses"][status]["content"]
        assert content["application/json"]["schema"]["$ref"].endswith("/ErrorBody")
    poll = openapi["paths"]["/v1/video/tasks/{task_id}"]["get"]["responses"]
    assert poll["404"]["content"]["application/json"]["schema"]["$ref"].endswith("/ErrorBody")


def test_openapi_has_the_parameters_with_the_bounds_of_this_server(openapi):
    text = openapi["paths"]["/v1/video/async_t2v"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    form = openapi["paths"]["/v1/video/i2v"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    for schema in (text, form):
        jsonschema.Draft202012Validator.check_schema(schema)
        assert schema["properties"]["height"]["maximum"] == 1024
        assert schema["properties"]["num_frames"]["maximum"] == 97
        assert schema["properties"]["seed"]["default"] == 42
        jsonschema.validate({"prompt": "x", "height": 512, "seed": None, "image": ""}, schema)
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({"prompt": "x", "image": "", "height": 1025}, schema)
    assert (text["required"], form["required"]) == (["prompt"], ["prompt"]), "an image, of three fields one"
    assert "12345 bytes" in form["properties"]["image"]["description"]


def test_answers_are_as_openapi_describes_them(box):
    document = box.client.get("/openapi.json").json()
    submitted = box.client.post("/v1/video/async_t2v", json={"prompt": "x", "typo": 1}).json()
    for name, model, body in (
        ("Submitted", Submitted, submitted),
        ("TaskBody", TaskBody, box.poll(submitted["task_id"])),
        ("TaskBody", TaskBody, box.poll(box.finished())),
        ("Health", None, box.client.get("/health").json()),
    ):
        schema = {**document["components"]["schemas"][name], "components": document["components"]}
        jsonschema.validate(body, schema)
        assert model is None or set(body) <= set(model.model_fields)


def test_the_documentation_page_is_whole_without_the_internet(box):
    page = box.client.get("/docs")
    assert page.headers["content-security-policy"].startswith("default-src 'self';")
    assert "unsafe" not in page.headers["content-security-policy"]
    assert "//" not in page.text
    named = re.findall(r'(?:href|src)="([^"]+)"', page.text)
    assert "docs/swagger-ui-bundle.js" in named
    for name in [*named, re.search(r'url: "([^"]+)"', box.client.get("/docs/start.js").text)[1]]:
        assert box.client.get(f"/{name}").status_code == 200, name
    assert box.client.get("/docs/docs.html").status_code == 404
