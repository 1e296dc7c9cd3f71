"""The requests that clients of OpenAI's video API are documented to send, and the answers that they need."""

import asyncio
import base64
import io
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from ipaddress import ip_address
from unittest.mock import ANY

import httpx
import numpy as np
import openai
import pytest
from PIL import Image

from deployments.ingress.images.fetching import ImageFetcher
from deployments.ingress.openai.polling import choose_interval_ms
from deployments.ingress.request_body.data_url import ImageUrl
from deployments.ingress.request_body.openapi import EXAMPLE_IMAGE
from deployments.ingress.webhooks.ssrf import Address
from deployments.settings import Settings
from models.errors import InvalidRequest
from models.request.request import RequestLimits
from storage.inputs import unpack_inputs
from storage.tasks import ServedModel, Task
from tests.ingress.conftest import MODEL, PROMPT, VIDEO, Box, completing, image_file
from tests.ingress.test_estimate import DISTILLED, LTX_2

pytestmark = pytest.mark.filterwarnings("ignore:The Sora API")
GB = 10**9


@pytest.fixture
def served(served_box) -> Iterator[Box]:
    """A server on a real port, and a worker that completes every task."""
    with completing(served_box()) as box:
        yield box


@pytest.fixture
def requests_sent() -> list[httpx.Request]:
    return []


@pytest.fixture
def client(served, requests_sent) -> Iterator[openai.OpenAI]:
    base_url = f"{str(served.client.base_url).rstrip('/')}/v1"
    http = httpx.Client(event_hooks={"request": [requests_sent.append]})
    with openai.OpenAI(base_url=base_url, api_key="none", http_client=http) as client:
        yield client


def create(box: Box, **fields) -> dict:
    answer = box.client.post("/v1/videos", json={"prompt": PROMPT, **fields})
    assert answer.status_code == 200, answer.text
    return answer.json()


def row_of(box: Box, video: dict):
    return box.row(video["id"].removeprefix("video_"))


def error_of(answer: httpx.Response) -> dict:
    assert answer.status_code == 422, answer.text
    error = answer.json()["error"]
    assert (error["type"], set(error)) == ("invalid_request_error", {"message", "type", "param", "code"})
    return error


# -- model names


@pytest.mark.parametrize(
    "name", ["sora-2", "sora-2-pro", "sora-2-2025-12-08", "Sora-2", "ltx-2", "LTX-2", MODEL.lower()]
)
def test_an_alias_renders_with_the_served_model_and_the_answer_says_so(box, name):
    video = create(box, model=name)
    assert video["model"] == MODEL
    assert video["adjusted"] == [{"field": "model", "given": name, "used": MODEL, "reason": ANY}]
    assert box.client.get(f"/v1/models/{name}").json()["root"] == MODEL


@pytest.mark.parametrize("name", ["sora", "sora-2-2025", "sora-2-2025-12-08-x", "ltx", "x/ltx-2", 7, ["sora-2"]])
def test_another_model_is_refused_with_the_names_that_are_accepted(box, name):
    error = error_of(box.client.post("/v1/videos", json={"prompt": PROMPT, "model": name}))
    assert error["param"] == "model"
    assert "sora-2-pro" in error["message"]


def test_the_operator_chooses_the_aliases(open_box):
    box = open_box(ingress={"model_aliases": ["veo-3.1"]})
    assert [each["id"] for each in box.client.get("/v1/models").json()["data"]] == [MODEL, "veo-3.1"]
    assert create(box, model="veo-3.1")["model"] == MODEL
    error_of(box.client.post("/v1/videos", json={"prompt": PROMPT, "model": "sora-2"}))
    assert (
        "alias"
        not in open_box(ingress={"model_aliases": []})
        .client.post("/v1/videos", json={"prompt": PROMPT, "model": "sora-2"})
        .text
    )


# -- openai-python


def test_the_openai_package_polls_when_the_header_says(client, served, requests_sent):
    video = client.videos.create_and_poll(prompt=PROMPT, model="sora-2", size="1280x720", seconds="12")
    assert (video.status, video.size, video.seconds) == ("completed", "1280x704", "12")
    assert client.videos.download_content(video.id).read() == VIDEO
    answer = client.videos.with_raw_response.retrieve(video.id)
    assert "openai-poll-after-ms" not in answer.headers, "the video has ended"
    disposition = client.videos.download_content(video.id).response.headers["content-disposition"]
    assert disposition == f'inline; filename="{video.id}.mp4"'


def test_a_video_that_has_not_ended_says_when_to_poll(box):
    created = box.client.post("/v1/videos", json={"prompt": PROMPT})
    polled = box.client.get(f"/v1/videos/{created.json()['id']}")
    assert [int(each.headers["openai-poll-after-ms"]) for each in (created, polled)] == [1000, 1000]
    box.start()
    assert "openai-poll-after-ms" in box.client.get(f"/v1/videos/{created.json()['id']}").headers


@pytest.mark.parametrize(("eta_s", "wait_ms"), [(0, 500), (4, 500), (20, 2000), (50, 5000), (3600, 5000)])
def test_the_interval_is_a_tenth_of_the_time_left(eta_s, wait_ms):
    assert choose_interval_ms(eta_s) == wait_ms


def test_a_script_of_another_site_may_read_when_to_poll(open_box):
    box = open_box(cors_origins=["https://app.example.com"])
    answer = box.client.get("/v1/models", headers={"Origin": "https://app.example.com"})
    assert "openai-poll-after-ms" in answer.headers["access-control-expose-headers"]


def test_what_is_not_supported_is_refused_once_with_the_reason(client, requests_sent):
    """The packages repeat a 5xx, and show a 404 as a wrong address."""
    reference = {"id": "video_" + "0" * 32}
    calls = [
        lambda: client.post("/videos/edits", cast_to=object, body={"prompt": PROMPT, "video": reference}),
        lambda: client.post("/videos/extensions", cast_to=object, body={"prompt": PROMPT, "video": reference}),
        lambda: client.videos.edit(prompt=PROMPT, video=("a.mp4", b"0" * 300_000)),
        lambda: client.videos.create_character(name="ann", video=("a.mp4", b"0" * 300_000)),
        lambda: client.videos.get_character("char_1"),
    ]
    for call in calls:
        requests_sent.clear()
        with pytest.raises(openai.UnprocessableEntityError) as refused:
            call()
        assert (refused.value.code, len(requests_sent)) == ("not_supported", 1)
        assert "this server" in refused.value.message


# -- images


def test_an_image_comes_as_a_file_an_object_or_a_url_in_a_form(served, client):
    """openai-node sends an object as `input_reference[image_url]`."""
    as_text = {"input_reference": EXAMPLE_IMAGE}
    for data in ({"input_reference[image_url]": EXAMPLE_IMAGE}, as_text, {"reference_url": EXAMPLE_IMAGE}):
        answer = served.client.post("/v1/videos", data={"prompt": PROMPT, **data}, files={"none": b""})
        assert answer.status_code == 200, answer.text
        assert row_of(served, answer.json()).input_key
    in_json = [
        {"input_reference": {"image_url": EXAMPLE_IMAGE}},
        {"image_reference": {"image_url": {"url": EXAMPLE_IMAGE}}},
        {"reference_url": EXAMPLE_IMAGE},
        {"extra_body": {"input_reference": EXAMPLE_IMAGE}},
    ]
    for fields in in_json:
        assert row_of(served, create(served, **fields)).input_key, fields
    video = client.videos.create(prompt=PROMPT, extra_body={"input_reference[image_url]": EXAMPLE_IMAGE})
    assert served.row(video.id.removeprefix("video_")).input_key


def noise_file() -> bytes:
    """An image of more bytes than the fields of a body may have."""
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (320, 320, 3), np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def frames_of(box: Box, task: Task) -> list[tuple[int, float]]:
    """Frame and strength of each image of a task."""
    assert task.input_key
    images = unpack_inputs(b"".join(box.outputs.open(task.input_key))).images
    return [(each.place.frame, each.place.strength) for each in images]


PLACES = {"end_image_strength": 0.5, "keyframe_at": ["1s", 36], "keyframe_strength": [1, 0.25]}
FRAMES = [(0, 1), (96, 0.5), (25, 1), (36, 0.25)]


@pytest.mark.parametrize("brackets", ["", "[]"])
def test_own_fields_give_a_last_image_and_keyframes_in_a_form(served, brackets):
    """Many libraries write a repeated field as `keyframe[]`."""
    files = [("input_reference", "a.png"), ("end_image", "b.png"), *[(f"keyframe{brackets}", "c.png")] * 2]
    parts = [(name, (file, image_file())) for name, file in files]
    data = {"prompt": PROMPT, "num_frames": "97", **PLACES}
    data |= {f"{name}{brackets}": data.pop(name) for name in ("keyframe_at", "keyframe_strength")}
    answer = served.client.post("/v1/videos", data=data, files=parts)
    assert answer.status_code == 200, answer.text
    assert answer.json()["ignored"] == []
    assert frames_of(served, row_of(served, answer.json())) == FRAMES


def test_own_fields_give_a_last_image_and_keyframes_in_json_and_in_extra_body(served):
    large = "data:image/png;base64," + base64.b64encode(noise_file()).decode()
    given = {
        "input_reference": EXAMPLE_IMAGE,
        "end_image": {"image_url": large},
        "keyframe": [{"image_url": {"url": large}}, EXAMPLE_IMAGE],
        **PLACES,
    }
    assert frames_of(served, row_of(served, create(served, num_frames=97, **given))) == FRAMES
    given["end_image"], given["keyframe"] = EXAMPLE_IMAGE, [EXAMPLE_IMAGE, EXAMPLE_IMAGE]
    assert frames_of(served, row_of(served, create(served, num_frames=97, extra_body=given))) == FRAMES


def test_the_openai_package_sends_them_in_extra_body_beside_its_file(served, client):
    extra = {"end_image": EXAMPLE_IMAGE, "keyframe": [EXAMPLE_IMAGE, EXAMPLE_IMAGE], "num_frames": 97, **PLACES}
    video = client.videos.create(prompt=PROMPT, input_reference=("a.png", image_file()), extra_body=extra)
    assert frames_of(served, served.row(video.id.removeprefix("video_"))) == FRAMES


def test_the_own_name_of_the_first_image_works_too_and_is_named_in_its_errors(served):
    assert row_of(served, create(served, image=EXAMPLE_IMAGE)).input_key
    error = error_of(served.client.post("/v1/videos", json={"prompt": PROMPT, "image": "photo.png"}))
    assert error["param"] == "image"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"end_image": "photo.png"}, "end_image"),
        ({"end_image": "data:image/png;base64,AAAA"}, "end_image"),
        ({"keyframe": [EXAMPLE_IMAGE]}, "keyframe_at"),
        ({"keyframe": [EXAMPLE_IMAGE], "keyframe_at": ["9s"]}, "keyframe_at"),
        ({"keyframe": ["http://127.0.0.1/"], "keyframe_at": [5]}, "keyframe"),
        ({"end_image": EXAMPLE_IMAGE, "end_image_strength": 2}, "end_image_strength"),
        ({"image_strength": 0.5}, "image_strength"),
    ],
)
def test_a_wrong_image_or_place_is_named(box, fields, param):
    error = error_of(box.client.post("/v1/videos", json={"prompt": PROMPT, **fields}))
    assert (error["param"], error["message"].startswith(f"{param} must be")) == (param, True), error


@pytest.mark.parametrize(
    "given", ["photo.png", "/etc/passwd", "file:///etc/passwd", "ftp://example.com/a.png", 5, {"file_id": "f"}]
)
def test_an_image_that_is_no_image_and_no_url_is_refused(box, given):
    error = error_of(box.client.post("/v1/videos", json={"prompt": PROMPT, "input_reference": given}))
    assert error["param"] == "input_reference"


def test_a_file_id_is_refused_because_no_files_are_stored(box):
    form = {"prompt": PROMPT, "input_reference[file_id]": "file_1"}
    error = error_of(box.client.post("/v1/videos", data=form, files={"none": b""}))
    assert (error["param"], "stores no files" in error["message"]) == ("input_reference[file_id]", True)


@pytest.fixture
def image_host() -> Iterator[str]:
    """A web server with images and with answers that are none."""
    answers = {
        "/a.png": (200, image_file()),
        "/text": (200, b"no image"),
        "/long": (200, b"0" * 300_000),
        "/gone": (404, b""),
        "/moved": (302, b""),
    }

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, content = answers[self.path]
            self.send_response(status)
            self.send_header("Location", "/a.png")
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_an_image_is_fetched_by_its_url(open_box, image_host):
    box = open_box(ingress={"image_urls": "any"})
    url = f"{image_host}/a.png"
    assert row_of(box, create(box, input_reference=url)).input_key
    assert row_of(box, create(box, input_reference={"image_url": url})).input_key
    form = {"prompt": PROMPT, "input_reference[image_url]": url}
    assert row_of(box, box.client.post("/v1/videos", data=form, files={"none": b""}).json()).input_key


def test_all_images_of_a_request_are_fetched_and_have_one_bound(open_box, image_host):
    url, size = f"{image_host}/a.png", len(image_file())
    urls = {"input_reference": url, "keyframe": [url, {"image_url": url}], "keyframe_at": [8, 16]}
    box = open_box(ingress={"image_urls": "any"}, limits=RequestLimits(max_image_bytes=2 * size))
    assert frames_of(box, row_of(box, create(box, **urls))) == [(0, 1), (8, 1), (16, 1)]
    answer = box.client.post("/v1/videos", json={"prompt": PROMPT, **urls, "end_image": url})
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (413, "keyframe"), error
    assert f"at most {3 * size} bytes together" in error["message"]


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/text", "in another format"),
        ("/gone", "answered 404"),
        ("/moved", "answered 302"),
        ("/long", "at most 200000 bytes"),
    ],
)
def test_a_url_without_an_image_is_refused(open_box, image_host, path, says):
    box = open_box(ingress={"image_urls": "any"}, limits=RequestLimits(max_image_bytes=200_000))
    answer = box.client.post("/v1/videos", json={"prompt": PROMPT, "input_reference": image_host + path})
    assert answer.status_code == (413 if path == "/long" else 422)
    error = answer.json()["error"]
    assert (error["param"], says in error["message"]) == ("input_reference", True), error


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:{port}/a.png", "http://localhost:{port}/a.png", "http://[::1]/a.png", "http://169.254.169.254/"],
)
def test_no_private_address_is_fetched_by_default(box, image_host, url):
    url = url.format(port=image_host.rpartition(":")[2])
    error = error_of(box.client.post("/v1/videos", json={"prompt": PROMPT, "input_reference": url}))
    assert (error["param"], "open internet" in error["message"]) == ("input_reference", True)
    assert box.client.get("/v1/videos").json()["data"] == []


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "::ffff:127.0.0.1"])
def test_a_public_name_that_leads_to_a_private_address_is_not_fetched(image_host, address):
    async def resolve(_host: str) -> list[Address]:
        return [ip_address(address)]

    url = f"http://images.example.com:{image_host.rpartition(':')[2]}/a.png"
    fetch = ImageFetcher(Settings(), resolve).fetch
    with pytest.raises(InvalidRequest, match="no connection to its host"):
        asyncio.run(fetch(ImageUrl("input_reference", url)))
    if address == "127.0.0.1":
        fetch = ImageFetcher(Settings(ingress={"image_urls": "any"}), resolve).fetch
        assert asyncio.run(fetch(ImageUrl("input_reference", url))) == image_file()


def test_the_operator_can_switch_urls_off(open_box, image_host):
    box = open_box(ingress={"image_urls": "none"})
    error = error_of(box.client.post("/v1/videos", json={"prompt": PROMPT, "input_reference": f"{image_host}/a.png"}))
    assert "fetches no urls" in error["message"]


def test_the_native_routes_fetch_no_url(open_box, image_host):
    box = open_box(ingress={"image_urls": "any"})
    answer = box.client.post("/v1/video/async_i2v", json={"prompt": PROMPT, "image": f"{image_host}/a.png"})
    assert (answer.status_code, "fetches no urls" in answer.json()["error"]) == (422, True)


# -- n8n, LibreChat, LiteLLM


def test_the_sequence_of_n8n(served):
    form = {"model": "sora-2", "prompt": PROMPT, "seconds": "4", "size": "1280x720"}
    for files in ({"none": b""}, {"input_reference": ("a.png", image_file())}):
        assert served.client.get("/v1/models").status_code == 200
        video = served.client.post("/v1/videos", data=form, files=files).json()
        while video["status"] != "completed":
            assert not video["error"]
            video = served.client.get(f"/v1/videos/{video['id']}").json()
        assert served.client.get(f"/v1/videos/{video['id']}/content").content == VIDEO


def test_the_sequence_of_librechat(served):
    form = {"model": "sora-2-pro", "prompt": PROMPT, "seconds": "4", "size": "1920x1080"}
    files = {"input_reference": ("reference.png", image_file(image_format="JPEG"), "image/jpeg")}
    video = served.client.post("/v1/videos", data=form, files=files).json()
    assert (video["size"], video["seconds"]) == ("1920x1088", "4")
    assert served.client.get(f"/v1/videos/{video['id']}").json()["id"] == video["id"]


def test_the_requests_of_litellm(served):
    video = create(served, model="sora-2", seconds="4", size="720x1280", user="ann")
    assert video["ignored"] == ["user"]
    while served.client.get(f"/v1/videos/{video['id']}").json()["status"] != "completed":
        pass
    content = served.client.get(f"/v1/videos/{video['id']}/content?video_id={video['id']}")
    assert content.content == VIDEO


# -- vLLM-Omni and SGLang


def test_the_fields_of_vllm_omni_set_those_of_this_server(box):
    extra = {"video_cfg_scale": 2.5, "audio_stg_scale": 1}
    form = {"prompt": PROMPT, "fps": "24", "guidance_scale": "4", "num_inference_steps": "8", "seconds": "2"}
    form |= {"negative_prompt": "blur", "extra_params": json.dumps(extra), "generate_sound": "true"}
    answer = box.client.post("/v1/videos", data=form, files={"none": b""}).json()
    request = row_of(box, answer).request
    assert (request.frame_rate, request.num_frames, request.num_inference_steps) == (24, 48, 8)
    assert (request.cfg_scale_video, request.cfg_scale_audio, request.negative_prompt) == (2.5, 4, "blur")
    assert answer["ignored"] == ["extra_params.audio_stg_scale", "generate_sound", "none"]


def test_openai_node_sends_an_object_as_one_form_field_for_each_member(box):
    form = {"prompt": PROMPT, "extra_params[video_cfg_scale]": "2.5", "extra_body[seed]": "7"}
    request = row_of(box, box.client.post("/v1/videos", data=form, files={"none": b""}).json()).request
    assert (request.cfg_scale_video, request.seed) == (2.5, 7)


def test_the_fields_of_sglang_set_those_of_this_server(box):
    extra = {"fps": 30, "num_inference_steps": 9, "diffusers_kwargs": {}}
    video = create(box, size="1280x720", seed=[7], n=1, num_outputs_per_prompt=1, extra_body={**extra, "seed": 1})
    request = row_of(box, video).request
    assert (request.frame_rate, request.num_inference_steps, request.seed) == (30, 9, 7)
    assert video["ignored"] == ["diffusers_kwargs"]
    assert row_of(box, create(box, extra_body=json.dumps({"seed": 3}))).request.seed == 3


@pytest.mark.parametrize(
    "fields",
    [
        {"n": 2},
        {"num_outputs_per_prompt": "2"},
        {"n": True},
        {"seed": [1, 2]},
        {"seed": []},
        {"video_url": "https://example.com/a.mp4"},
        {"video_path": "/a.mp4"},
        {"video_reference": "{}"},
        {"audio_reference": {}},
        {"extra_body": "soon"},
        {"extra_body": [1]},
        {"extra_params": 5},
        {"quality": "best"},
        {"fps": "many"},
        {"fps": 1000},
        {"guidance_scale": -1},
    ],
)
def test_a_refusal_names_what_the_client_sent(box, fields):
    error = error_of(box.client.post("/v1/videos", json={"prompt": PROMPT, **fields}))
    (name,) = fields
    assert error["param"] == name
    assert error["message"].startswith(f"{name} must be")


def test_a_refusal_inside_extra_params_names_the_member(box):
    error = error_of(box.client.post("/v1/videos", json={"prompt": PROMPT, "extra_params": {"video_cfg_scale": -1}}))
    assert error["param"] == "extra_params.video_cfg_scale"


@pytest.mark.parametrize("word", ["standard", "auto", "hd", "high"])
def test_openai_s_words_of_quality_mean_exact(box, word):
    video = create(box, quality=word)
    assert row_of(box, video).request.quality == "exact"
    assert video["adjusted"] == [{"field": "quality", "given": word, "used": "exact", "reason": ANY}]
    assert create(box, quality="fast")["adjusted"] == []


# -- sizes and durations


def test_the_answer_tells_which_size_is_rendered(box):
    def adjusted(**fields) -> list[tuple]:
        return [(each["field"], each["given"], each["used"]) for each in create(box, seconds=1, **fields)["adjusted"]]

    assert adjusted(size="1280x720") == [("size", "1280x720", "1280x704")]
    assert adjusted(size="1280x704") == adjusted() == adjusted(width=640, height="640") == []
    assert adjusted(width=854, height="480") == [("width", "854", "832"), ("height", "480", "512")]


@pytest.mark.parametrize(
    ("size", "nearest"), [("3840x2160", "1920x1088"), ("2160x3840", "1088x1920"), ("16x16", "64x64")]
)
def test_a_size_that_is_not_allowed_is_refused_with_the_nearest(box, size, nearest):
    error = error_of(box.client.post("/v1/videos", json={"prompt": PROMPT, "size": size}))
    assert (error["param"], f"the nearest is {nearest}" in error["message"]) == ("size", True), error
    assert create(box, size=nearest, seconds=1)["size"] == nearest


@pytest.mark.parametrize(
    ("fields", "most", "bound"),
    [
        ({"size": "1280x720"}, "19.24", "limits.max_frames"),
        ({"size": "1920x1080", "fps": 24}, "20.0417", "limits.max_frames"),
        ({"size": "1920x1920", "fps": 25}, "10.88", "limits.max_total_pixels"),
        ({"fps": 12}, "20.1", "limits.max_duration_s"),
    ],
)
def test_a_duration_that_is_not_allowed_is_refused_with_the_longest_and_its_setting(box, fields, most, bound):
    error = error_of(box.client.post("/v1/videos", json={"prompt": PROMPT, "seconds": "60", **fields}))
    assert error["param"] == "seconds"
    assert f"to {most} at" in error["message"], error
    assert bound in error["message"]


@pytest.mark.parametrize(
    ("size", "seconds"), [("1920x1080", "6"), ("1280x720", "12"), ("1920x1080", "8"), ("720x1280", "12")]
)
def test_the_first_requests_of_hosted_clients_are_accepted(box, size, seconds):
    assert create(box, size=size, seconds=seconds)["seconds"] == seconds


@pytest.mark.parametrize(
    ("fields", "param", "says"),
    [
        ({"size": "1920x1080", "seconds": "6"}, "seconds", ("1920x1088 for ", '"6" was given')),
        ({"size": "1920x1080"}, "seconds", ("1920x1088 for ", "nothing was given")),
        ({"size": "1920x1080", "num_frames": 241}, "num_frames", ("1920x1088 with ", "241 was given")),
    ],
)
def test_what_does_not_fit_into_memory_is_refused_in_the_client_s_words(box, fields, param, says):
    box.tasks.record_model(ServedModel(MODEL, LTX_2, 8 * GB))
    error = error_of(box.client.post("/v1/videos", json={"prompt": PROMPT, **fields}))
    assert (error["param"], error["code"]) == (param, "does_not_fit")
    assert all(each in error["message"] for each in says), error["message"]


def test_what_the_model_cannot_use_is_named_as_the_client_sent_it(box):
    box.tasks.record_model(ServedModel(MODEL, DISTILLED, None))
    adjusted = {each["field"] for each in create(box, guidance_scale=4, num_inference_steps=30)["adjusted"]}
    assert adjusted == {"guidance_scale", "num_inference_steps"}
