"""Request bodies as different clients send them: form parts, missing fields, and an image in JSON."""

import base64
import contextlib
import io
import json
from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from models.request.request import MAX_SEED, VideoRequest
from tests.ingress.conftest import MODEL, PROMPT, Box, build_app, image_file
from tests.ingress.test_errors import refused

IMAGE = image_file(image_format="JPEG")
DATA_URL = "data:image/jpeg;base64," + base64.b64encode(IMAGE).decode()
FORM = {"Content-Type": "multipart/form-data; boundary=XX"}
OPTIONAL = [name for name in VideoRequest.model_fields if name != "prompt"]


@pytest.fixture(scope="module")
def box(tmp_path_factory) -> Iterator[Box]:
    """One server for all of these tests: none reads what another left."""
    with contextlib.ExitStack() as stack:
        app, parts = build_app(tmp_path_factory.mktemp("bodies"), stack)
        client = TestClient(app, base_url="http://192.168.1.26:8004", raise_server_exceptions=False)
        yield Box(stack.enter_context(client), *parts)


def part(name: str, content: bytes, filename: str | None = None, kind: str | None = None) -> bytes:
    head = f'--XX\r\nContent-Disposition: form-data; name="{name}"'
    head += "" if filename is None else f'; filename="{filename}"'
    head += "" if kind is None else f"\r\nContent-Type: {kind}"
    return head.encode() + b"\r\n\r\n" + content + b"\r\n"


def post_form(box: Box, route: str, *parts: bytes, kind: str = FORM["Content-Type"]):
    content = b"".join([part("prompt", PROMPT.encode()), *parts, b"--XX--\r\n"])
    return box.client.post(route, content=content, headers={"Content-Type": kind})


def row_of(box: Box, answer):
    assert answer.status_code == 200, answer.text
    body = answer.json()
    return box.row(body.get("task_id") or body["id"].removeprefix("video_"))


def noisy_image() -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise((900, 900), 90).save(buffer, "PNG")
    return buffer.getvalue()


NOISE = noisy_image()


@pytest.mark.parametrize(
    ("filename", "kind"),
    [(None, None), (None, "image/jpeg"), (None, "application/octet-stream"), ("", "image/jpeg"), ("a", "text/plain")],
)
def test_a_part_with_the_name_of_an_image_is_a_file_whatever_else_is_said_of_it(box, filename, kind):
    for content in (IMAGE, NOISE):
        assert len(NOISE) > 600_000
        assert row_of(box, post_form(box, "/v1/video/async_i2v", part("image", content, filename, kind))).input_key
    assert row_of(box, post_form(box, "/v1/videos", part("input_reference", IMAGE, filename, kind))).input_key


def test_a_file_input_that_was_left_empty_is_no_image(box):
    for kind in ("application/octet-stream", "image/jpeg", None):
        assert row_of(box, post_form(box, "/v1/videos", part("input_reference", b"", "", kind))).input_key is None
        assert post_form(box, "/v1/video/estimate", part("image", b"", "", kind)).status_code == 200
        body = refused(post_form(box, "/v1/video/async_i2v", part("image", b"", "", kind)))
        assert (body.field, body.given) == ("image", "nothing")
    body = refused(post_form(box, "/v1/video/async_i2v", part("image", b"", "a.jpg", "image/jpeg")))
    assert (body.field, body.given) == ("image", "a file of 0 bytes")


def test_text_where_an_image_is_wanted_is_shown(box):
    for text, allowed in (("photo.jpg", "a data url"), ("https://a.example/b.jpg", "fetches no urls")):
        body = refused(post_form(box, "/v1/video/async_i2v", part("image", text.encode())))
        assert (body.field, body.given) == ("image", json.dumps(text))
        assert allowed in body.allowed


@pytest.mark.parametrize("empty", [None, "", "  "])
def test_null_and_empty_text_mean_the_default_on_every_route(box, empty):
    plain = box.client.post("/v1/video/async_t2v", json={"prompt": PROMPT})
    fields = {"prompt": PROMPT, **dict.fromkeys(OPTIONAL, empty)}
    form = {"data": {name: "" if value is None else value for name, value in fields.items()}}
    form["data"]["negative_prompt"] = VideoRequest.model_fields["negative_prompt"].default
    for answer in (
        box.client.post("/v1/video/async_t2v", json=fields),
        box.client.post("/v1/videos", json=fields | {"size": empty, "seconds": empty, "model": empty, "fps": empty}),
        box.client.post("/v1/video/async_i2v", **form, files={"image": IMAGE}),
        box.client.post("/v1/videos", **form, files={"other": b""}),
    ):
        row = row_of(box, answer)
        wanted = row_of(box, plain).request.model_dump() | {"seed": row.request.seed}
        if isinstance(empty, str) and answer.request.headers["content-type"] == "application/json":
            wanted["negative_prompt"] = empty  # an empty text is a value here: no negative prompt
        assert row.request.model_dump() == wanted
        assert row.request.model_fields_set <= {"prompt", "negative_prompt", "seed"}
    assert box.client.post("/v1/video/estimate", json=fields).status_code == 200


def test_the_word_null_of_a_form_means_null_but_not_in_a_text(box):
    data = dict.fromkeys(OPTIONAL, "null")
    row = row_of(box, box.client.post("/v1/video/async_i2v", data={"prompt": PROMPT, **data}, files={"image": IMAGE}))
    assert (row.request.height, row.request.negative_prompt) == (512, "null")


@pytest.mark.parametrize("given", [-1, "-1", -1.0, None, ""])
def test_a_seed_is_drawn_where_it_is_asked_for_and_a_repeat_finds_the_same_task(box, given):
    body, key = {"prompt": PROMPT, "seed": given}, {"Idempotency-Key": "one"}
    first, again = (box.client.post("/v1/video/async_t2v", json=body, headers=key).json() for _ in range(2))
    assert first["task_id"] == again["task_id"]
    assert box.client.post("/v1/video/async_t2v", json=body).json()["seed"] != first["seed"] != -1


@pytest.mark.parametrize("seed", [2**53 + 1, 2**63 - 1, 2**63, MAX_SEED])
def test_a_seed_of_64_bits_is_kept_to_the_digit(box, seed):
    for given in (seed, str(seed)):
        answer = box.client.post("/v1/video/async_t2v", json={"prompt": PROMPT, "seed": given})
        assert answer.json()["seed"] == seed
        assert row_of(box, answer).request.seed == seed
        assert box.poll(answer.json()["task_id"])["seed"] == seed


@pytest.mark.parametrize("route", ["async_t2v", "t2v"])
def test_a_form_is_told_which_route_takes_it_before_its_size_is_looked_at(box, route):
    answer = post_form(box, f"/v1/video/{route}", part("image", bytes(300_000), "a.jpg", "image/jpeg"))
    body = refused(answer)
    assert "this route takes JSON; images go to /v1/video/async_i2v" in body.error
    assert body.given == json.dumps(FORM["Content-Type"])
    sent_as_json = refused(post_form(box, f"/v1/video/{route}", part("image", IMAGE), kind="application/json"))
    assert "a form came as application/json" in sent_as_json.error


def test_an_image_as_the_whole_body_is_told_what_is_taken(box):
    headers = {"Content-Type": "image/jpeg", "Content-Length": str(50_000_000)}
    assert "multipart/form-data with" in refused(box.client.post("/v1/video/async_i2v", headers=headers)).error


# -- images in JSON


def big_json(escape: str = "") -> bytes:
    text = json.dumps({"prompt": PROMPT, "image": "data:image/png;base64," + base64.b64encode(NOISE).decode()})
    return {"": text, "php": text.replace("/", r"\/"), "dotnet": text.replace("+", r"\u002B")}[escape].encode()


@pytest.mark.parametrize("escape", ["", "php", "dotnet"])
def test_a_large_image_in_json_is_the_one_of_a_form(box, escape):
    in_json = row_of(box, box.client.post("/v1/video/async_i2v", content=big_json(escape)))
    in_form = row_of(box, post_form(box, "/v1/video/async_i2v", part("image", NOISE, "a.png")))
    one, other = (b"".join(box.outputs.open(row.input_key)) for row in (in_json, in_form))
    assert one == other


@pytest.mark.parametrize(
    "image",
    [
        DATA_URL,
        DATA_URL.rstrip("="),
        DATA_URL.replace("+", "-").replace("/", "_").replace("data:image_jpeg", "data:image/jpeg"),
        DATA_URL.replace("data:image/jpeg;base64", "DATA:;name=a.jpg;BASE64"),
        DATA_URL.replace("+", "%2B"),
        DATA_URL[:100] + "\r\n" + DATA_URL[100:],
        {"image_url": DATA_URL},
        {"image_url": {"url": DATA_URL}},
    ],
)
def test_a_data_url_is_taken_in_every_way_that_it_is_written(box, image):
    assert row_of(box, box.client.post("/v1/videos", json={"prompt": PROMPT, "input_reference": image})).input_key
    assert row_of(box, box.client.post("/v1/video/async_i2v", json={"prompt": PROMPT, "image": image})).input_key


def test_a_form_takes_an_image_by_every_name_that_clients_have_for_it(box):
    for name, text in (
        ("input_reference", DATA_URL),
        ("input_reference[image_url]", DATA_URL),
        ("image_reference", json.dumps({"image_url": DATA_URL})),
        ("input_reference", json.dumps({"image_url": "data:image/png;base64," + base64.b64encode(NOISE).decode()})),
    ):
        assert row_of(box, post_form(box, "/v1/videos", part(name, text.encode()))).input_key, name


@pytest.mark.parametrize(
    ("image", "said"),
    [
        ({"file_id": "file-1"}, "keeps no files"),
        ({"image_url": 7}, "image_url"),
        ("data:image/png,abc", "in base64"),
        ("data:image/png;base64,####", "base64 is broken"),
        ("data:image/png;base64,AAAA", "in another format"),
        ("data:image/png;base64," + "ü" * 9, "base64 is broken"),
        (IMAGE.hex(), "data url"),
        (7, "data url"),
    ],
)
def test_what_is_no_data_url_of_an_image_is_refused_under_its_own_name(box, image, said):
    own = refused(box.client.post("/v1/video/async_i2v", json={"prompt": PROMPT, "image": image}))
    assert own.field == "image"
    assert said in own.error
    theirs = box.client.post("/v1/videos", json={"prompt": PROMPT, "input_reference": image}).json()["error"]
    assert theirs["param"] == "input_reference"
    assert said in theirs["message"]


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("https://192.168.1.5/a.png", "a url of the open internet"),
        ("http://a.invalid/b.jpg", "no connection to its host"),
    ],
)
def test_a_url_in_place_of_an_image_is_fetched_for_openais_clients_alone(box, url, said):
    own = refused(box.client.post("/v1/video/async_i2v", json={"prompt": PROMPT, "image": url}))
    assert own.field == "image"
    assert "fetches no urls" in own.error
    fields = {"prompt": PROMPT, "input_reference": {"image_url": url}}
    theirs = box.client.post("/v1/videos", json=fields).json()["error"]
    assert theirs["param"] == "input_reference"
    assert said in theirs["message"]


def test_what_is_no_image_has_the_bound_of_fields_beside_an_image_too(box):
    long = "x" * 400_000
    for fields in ({"prompt": long}, {"prompt": PROMPT, "image": DATA_URL, "other": long}, {"a": [long, long]}):
        assert refused(box.client.post("/v1/video/async_i2v", json=fields), 413).error_code == "too_large"
    many = {"prompt": PROMPT, "image": DATA_URL, **{f"field{number}": "x" * 1000 for number in range(300)}}
    assert refused(box.client.post("/v1/video/async_i2v", json=many), 413).error_code == "too_large"


@pytest.mark.parametrize(
    "charset", ["undefined", "idna", "unicode_escape", "zip", "punycode", "utf-7", "no-such", "\xff"]
)
def test_no_codec_that_a_form_names_upsets_the_server(box, charset):
    kind = f"{FORM['Content-Type']}; charset={charset}".encode("latin-1")
    content = part("prompt", b"\\N \xff x--\x80") + part("image", IMAGE, "\xe9.jpg") + b"--XX--\r\n"
    answer = box.client.post("/v1/video/async_i2v", content=content, headers={"Content-Type": kind})
    assert answer.status_code in (200, 422), answer.text


# -- vLLM-Omni's fields


def test_the_fields_of_vllm_omni_are_taken_under_our_names(box):
    fields = {"fps": 24, "guidance_scale": 4.5, "width": 854, "height": 480, "seconds": "2", "model": MODEL}
    extra = {"video_stg_scale": 0.5, "a2v_guidance_scale": 2, "audio_cfg_scale": 6, "flow": 1}
    answers = (
        box.client.post("/v1/videos", json={"prompt": PROMPT, **fields, "extra_params": extra}),
        post_form(
            box,
            "/v1/videos",
            *(part(name, str(value).encode()) for name, value in fields.items()),
            part("extra_params", json.dumps(extra).encode()),
        ),
    )
    for answer in answers:
        request = row_of(box, answer).request
        assert (request.frame_rate, request.width, request.height, request.num_frames) == (24, 832, 512, 48)
        assert (request.cfg_scale_video, request.cfg_scale_audio) == (4.5, 6)
        assert (request.stg_scale_video, request.modality_scale) == (0.5, 2)
        assert answer.json()["ignored"] == ["extra_params.flow"]
    both = box.client.post("/v1/videos", json={"prompt": PROMPT, "fps": 24, "frame_rate": 30})
    assert row_of(box, both).request.frame_rate == 30


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"fps": 1000}, "fps"),
        ({"guidance_scale": 50}, "guidance_scale"),
        ({"guidance_scale": "strong"}, "guidance_scale"),
        ({"extra_params": {"video_stg_scale": -1}}, "extra_params.video_stg_scale"),
        ({"extra_params": "no json"}, "extra_params"),
        ({"width": 10}, "width"),
        ({"height": 5000}, "height"),
        ({"video_reference": {"video_url": "data:video/mp4;base64,AAAA"}}, "video_reference"),
        ({"seconds": 20, "size": "1920x1920"}, "seconds"),
    ],
)
def test_a_refusal_names_the_field_as_it_was_sent(box, fields, param):
    error = box.client.post("/v1/videos", json={"prompt": PROMPT, **fields}).json()["error"]
    assert error["param"] == param
    assert error["message"].startswith(f"{param} must be")
