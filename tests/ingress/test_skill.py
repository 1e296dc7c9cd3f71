"""An agent that reads /skill.md can do the whole workflow: the test extracts its steps and follows them."""

import json
import re

from models.names import DEMO_MODEL_NAME, TINY_MODEL_NAME
from models.request.places import IMAGES, PLACE_FIELDS
from tests.ingress.conftest import VIDEO, Box, image_file
from tests.ingress.keys import ALICE, KEYS


def document(box: Box) -> str:
    answer = box.client.get("/skill.md")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/markdown")
    return answer.text


def steps(text: str) -> list[tuple[str, str, list[str]]]:
    """Method, url and the following lines of each request in the numbered workflow."""
    workflow = text.split("step by step", 1)[1].split("\n## ", 1)[0]
    requests = [block.strip().splitlines() for block in re.findall(r"```http\n(.*?)```", workflow, re.DOTALL)]
    return [(*lines[0].split(" ", 1), [line.strip() for line in lines[1:]]) for lines in requests]  # type: ignore[misc]


def field_rows(text: str) -> dict[str, tuple[str, str]]:
    """Default and allowed values of each field in the table."""
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \| (.*?) \|", text.split("## Fields", 1)[1], re.MULTILINE)
    return {name: (default, allowed) for name, default, allowed in rows}


def test_the_workflow_that_the_document_tells_makes_a_video_of_an_image(box):
    text = document(box)
    (submit, submit_url, lines), (poll, poll_url, _), (download, download_url, _), _ = steps(text)
    names = [line.split("=", 1)[0] for line in lines if "=" in line]
    assert names == ["prompt", "image"]
    assert any(line == "Content-Type: multipart/form-data" for line in lines)

    submitted = box.client.request(
        submit, submit_url, data={"prompt": "She turns and smiles."}, files={"image": ("photo.png", image_file())}
    )
    assert submitted.status_code == 200, submitted.text
    poll_url = poll_url.format(task_id=submitted.json()["task_id"])
    assert box.client.request(poll, poll_url).json()["status"] == "processing"
    box.complete(box.start())
    ended = box.client.request(poll, poll_url).json()
    assert ended["status"] == "completed"
    assert box.client.request(download, download_url.format(**ended)).content == VIDEO


def test_the_request_for_a_text_alone_is_taken_as_it_stands(box):
    method, url, lines = steps(document(box))[-1]
    answer = box.client.request(method, url, json=json.loads(lines[-1]))
    assert answer.status_code == 200, answer.text
    assert answer.json()["ignored"] == []


def test_every_route_in_the_document_exists(box):
    known = {
        (method.upper(), path)
        for path, methods in box.client.get("/openapi.json").json()["paths"].items()
        for method in methods
    }
    told = set(re.findall(r"`(GET|POST|DELETE) (/(?:v1|outputs|health)[^`]*)`", document(box)))
    assert len(told) >= 9
    assert told <= known


def test_every_default_in_the_document_is_accepted_and_every_field_is_told(box):
    rows = field_rows(document(box))
    defaults = {
        name: default.strip("`") for name, (default, _) in rows.items() if default not in ("required", "`null`")
    }
    assert set(rows) == set(
        box.client.get("/openapi.json").json()["paths"]["/v1/video/async_i2v"]["post"]["requestBody"]["content"][
            "multipart/form-data"
        ]["schema"]["properties"]
    ) - {*IMAGES, *PLACE_FIELDS}
    assert all(f"`{name}`" in document(box) for name in (*IMAGES, *PLACE_FIELDS))
    answer = box.client.post(
        "/v1/video/async_i2v", data={"prompt": "x", **defaults}, files={"image": ("a.png", image_file())}
    )
    assert answer.status_code == 200, answer.text


def test_limits_are_those_of_this_server(open_box):
    box = open_box(
        limits={"max_side_px": 640, "max_inference_steps": 30, "max_image_bytes": 12345}, encoder={"max_bytes": None}
    )
    text = document(box)
    assert field_rows(text)["width"][1] == "whole number, 64 to 640, multiple of 64"
    assert field_rows(text)["generate_audio"] == ("`true`", "`true`, `false`")
    assert field_rows(text)["num_inference_steps"][1] == "whole number, 2 to 30"
    assert "at most 12345 bytes" in text


def test_addresses_are_those_that_the_client_used(open_box):
    assert "POST http://192.168.1.26:8004/v1/video/async_i2v" in document(open_box())
    public = open_box(public_base_url="https://video.example/api")
    assert "POST https://video.example/api/v1/video/async_i2v" in document(public)


def test_it_says_plainly_that_a_built_in_model_is_not_ltx2(open_box):
    assert "NOISE" in document(open_box(model=TINY_MODEL_NAME))
    assert "a red circle moves left on a blue background" in document(open_box(model=DEMO_MODEL_NAME))
    for word in ("NOISE", "red circle"):
        assert word not in document(open_box())


def test_llms_txt_leads_to_the_document(box):
    answer = box.client.get("/llms.txt")
    (link,) = re.findall(r"\((http\S+skill\.md)\)", answer.text)
    assert box.client.get(link).text == document(box)


def test_it_says_how_to_send_the_key_where_there_are_keys(open_box):
    box = open_box(api_keys=KEYS)
    text = document(box)
    (header,) = re.findall(r"`Authorization: Bearer <your key>`", text)
    name, value = header.strip("`").replace("<your key>", ALICE).split(": ")
    method, url, lines = steps(text)[-1]
    body = json.loads(lines[-1])
    assert box.client.request(method, url, json=body).status_code == 401
    assert box.client.request(method, url, json=body, headers={name: value}).status_code == 200
    assert box.client.get("/v1/video/usage", headers={name: value}).status_code == 200
    assert "Authorization" not in document(open_box())


def test_no_cache_keeps_a_document_that_has_the_host_in_it(box):
    for path in ("/skill.md", "/llms.txt"):
        headers = box.client.get(path).headers
        assert (headers["cache-control"], headers["vary"]) == ("no-store", "Host")
