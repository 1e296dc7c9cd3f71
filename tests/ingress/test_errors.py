"""Bad input: a 4xx with the uniform error body, which names the field, the given value and what is allowed."""

import asyncio
import gzip
import json
import re

import pytest
from starlette.types import Message

from deployments.ingress.schemas import ErrorBody
from models.request.request import RequestLimits, VideoRequest
from storage.tasks import State
from tests.ingress.conftest import image_file
from tests.ingress.test_submit import image_part

JSON_ROUTES = ("/v1/video/async_t2v", "/v1/video/t2v")


def refused(answer, status: int = 422) -> ErrorBody:
    """The error body of a response, which must be an error."""
    assert answer.status_code == status, answer.text
    assert set(answer.json()) == set(ErrorBody.model_fields)
    body = ErrorBody.model_validate(answer.json())
    assert body.status == "failed"
    assert body.error
    return body


@pytest.mark.parametrize(
    ("field", "given", "allowed"),
    [
        ("height", 500, "a multiple of 64"),
        ("width", 770, "from 64 to 1920"),
        ("height", 0, "from 64"),
        ("height", -64, "from 64"),
        ("width", 1984, "1920"),
        ("width", 10**400, "1920"),
        ("height", 512.5, "a whole number"),
        ("height", "tall", "a whole number"),
        ("height", True, "a whole number"),
        ("height", [512], "a whole number"),
        ("height", {"px": 512}, "a whole number"),
        ("num_frames", 8, "from 9 to 481"),
        ("num_frames", 482, "from 9 to 481"),
        ("num_frames", 0, "from 9 to 481"),
        ("num_frames", 1.5, "a whole number"),
        ("frame_rate", 0, "from 1 to 60"),
        ("frame_rate", -24, "from 1 to 60"),
        ("frame_rate", 60.001, "from 1 to 60"),
        ("frame_rate", 1e300, "from 1 to 60"),
        ("frame_rate", 10**400, "from 1 to 60"),
        ("frame_rate", "nan", "a number"),
        ("frame_rate", "-inf", "a number"),
        ("frame_rate", False, "a number"),
        ("frame_rate", [], "a number"),
        ("num_inference_steps", 1, "from 2 to 100"),
        ("num_inference_steps", 101, "from 2 to 100"),
        ("seed", -2, "from -1"),
        ("seed", 2**64, "from -1 to 18446744073709551615"),
        ("seed", 1.5, "or null"),
        ("seed", True, "a whole number"),
        ("cfg_scale_video", -0.1, "from 0 to 20"),
        ("modality_scale", 20.5, "from 0 to 20"),
        ("cfg_scale_audio", {}, "a number"),
        ("prompt", "", "1 to 5000 characters"),
        ("prompt", " \n\t", "1 to 5000 characters"),
        ("prompt", "x" * 5001, "5000 characters"),
        ("prompt", None, "a text"),
        ("prompt", 7, "a text"),
        ("prompt", ["x"], "a text"),
        ("prompt", {"text": "x"}, "a text"),
        ("prompt", True, "a text"),
        ("prompt", "\ud800", "a text"),
        ("negative_prompt", "x" * 5001, "5000 characters"),
        ("negative_prompt", 7, "a text"),
        ("negative_prompt", "\udfff", "a text"),
        ("fit", "stretch", "crop, pad, match"),
    ],
)
def test_a_wrong_field_is_named_with_what_was_given_and_what_is_allowed(box, field, given, allowed):
    content = json.dumps({"prompt": "x", field: given})
    body = refused(box.client.post("/v1/video/async_t2v", content=content))
    assert (body.field, body.error_code) == (field, "invalid_request")
    assert allowed in body.allowed
    spelt = json.dumps(given)
    assert body.given in (spelt, spelt[:77] + "...")
    assert body.error.endswith(f"; {body.given} was given")
    assert body.retryable is False
    assert box.tasks.counts()[State.QUEUED] == 0


def test_no_error_speaks_python(box):
    """None, True, nan and type names are Python's words; function names would reveal the implementation."""
    values = [None, True, [None, False], {"a": None}, float("nan"), 10**400, "x" * 200, "é\x1b\u202e", 1e400, -7.5]
    words = re.compile(r"\b(None|True|False|nan|inf|str|dict|list|NoneType|sys|codec|recursion|ValueError)\b")
    bodies = [json.dumps({"prompt": "x", name: value}) for name in VideoRequest.model_fields for value in values]
    bodies += ["", "{", "[" * 100_000, "\udcff", '{"seed": ' + "9" * 5000 + "}", '{"prompt": 1e999}', "--x\r\n", "7"]
    for content in bodies:
        answer = box.client.post("/v1/video/async_t2v", content=content.encode("utf-8", "surrogateescape"))
        if answer.status_code != 200:
            assert not words.search(refused(answer).error), content[:60]
            assert refused(answer).given.isprintable()


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
@pytest.mark.parametrize("field", ["frame_rate", "height", "seed", "cfg_scale_video"])
def test_numbers_that_are_none_are_refused(box, field, number):
    body = refused(box.client.post("/v1/video/async_t2v", content=f'{{"prompt": "x", "{field}": {number}}}'))
    assert body.field == field


def test_a_missing_prompt_is_named(box):
    assert refused(box.client.post("/v1/video/async_t2v", json={})).field == "prompt"
    assert refused(box.client.post("/v1/video/async_i2v", files=image_part())).field == "prompt"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b'{"prompt": "x",}',
        b"prompt=x",
        b"null",
        b"[]",
        b'"x"',
        b"7",
        b"NaN",
        b'{"prompt": "\xff\xfe"}',
        b"\xff\xff\xff",
        b'{"prompt": "x", "seed": ' + b"9" * 5000 + b"}",
        b"[" * 100_000,
        b'{"prompt": ' * 20_000,
    ],
)
@pytest.mark.parametrize("route", JSON_ROUTES)
def test_what_is_no_json_object_is_refused(box, route, content):
    body = refused(box.client.post(route, content=content))
    assert body.field == "body"
    assert body.allowed.startswith(("JSON", "a JSON object"))


@pytest.mark.parametrize("field", ["prompt", "seed", "unknown"])
def test_no_depth_of_nesting_upsets_the_server(box, field):
    for depth in (10, 100, 300, 600, 800, 900, 940, 960, 980, 1000, 1100):
        for opening, closing in (("[", "]"), ('{"a":', "}")):
            nested = opening * depth + "1" + closing * depth
            answer = box.client.post("/v1/video/async_t2v", content=f'{{"prompt": "x", "{field}": {nested}}}')
            assert answer.status_code in (200, 422), (depth, answer.text)


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"url":', "}"), ('{"image_url":', "}")])
def test_no_depth_of_nesting_around_an_image_upsets_the_server(box, opening, closing):
    for depth in (1, 2, 3, 10, 400, 600, 900):
        nested = opening * depth + f'"{"A" * 300_000}"' + closing * depth
        for path, name in (("/v1/video/async_i2v", "keyframe"), ("/v2/image-to-video", "image_uri")):
            answer = box.client.post(path, content=f'{{"prompt": "x", "{name}": {nested}}}')
            assert answer.status_code in (400, 413, 422), (depth, answer.text)


def test_a_prompt_of_any_text_is_taken(box):
    for prompt in ("\x00", "\u202e", "👩‍👩‍👧", "x" * 5000, "'; DROP TABLE tasks; --"):
        assert box.row(box.submit(prompt=prompt)).request.prompt == prompt


# -- images


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"this is no image",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        image_file()[:-30],
        image_file(600, 600, "JPEG")[:1000],
        image_file(image_format="GIF")[:30],
        image_file(image_format="BMP"),
        image_file(image_format="TIFF"),
    ],
    ids=["empty", "text", "svg", "cut png", "cut jpeg", "cut gif", "bmp", "tiff"],
)
@pytest.mark.parametrize("route", ["async_i2v", "i2v"])
def test_what_is_no_whole_image_is_refused(box, route, content):
    answer = box.client.post(f"/v1/video/{route}", data={"prompt": "x"}, files=image_part(content))
    body = refused(answer)
    assert (body.field, body.error_code) == ("image", "invalid_request")
    assert body.given
    assert body.allowed
    assert not list(box.folder.glob("store/inputs/*"))


def test_a_missing_file_is_refused(box):
    files = {"other": ("a.png", image_file())}
    body = refused(box.client.post("/v1/video/async_i2v", data={"prompt": "x"}, files=files))
    assert (body.field, body.given) == ("image", "nothing")


def test_text_in_place_of_the_file_is_refused(box):
    answer = box.client.post("/v1/video/async_i2v", data={"prompt": "x", "image": "photo.jpg"}, files={"b": b"x"})
    body = refused(answer)
    assert body.field == "image"
    assert "photo.jpg" in body.given


def test_a_file_in_place_of_a_text_is_refused(box):
    files = {**image_part(), "prompt": ("prompt.txt", b"a lighthouse")}
    body = refused(box.client.post("/v1/video/async_i2v", files=files))
    assert body.field == "prompt"


def test_a_decompression_bomb_is_refused_before_it_is_decoded(box):
    bomb = image_file(9600, 9600)
    assert len(bomb) < 2_000_000
    body = refused(box.client.post("/v1/video/async_i2v", data={"prompt": "x"}, files=image_part(bomb)))
    assert body.field == "image"
    assert "a PNG file of at most 89.48 megapixels" in body.allowed


@pytest.fixture
def small_box(open_box):
    """A server that accepts images up to 10 kB."""
    return open_box(limits=RequestLimits(max_image_bytes=10_000))


def test_a_file_over_the_limit_is_413(small_box):
    body = refused(
        small_box.client.post("/v1/video/async_i2v", data={"prompt": "x"}, files=image_part(bytes(10_001))), 413
    )
    assert (body.field, body.error_code) == ("image", "image_too_large")
    assert "10000 bytes" in body.allowed


@pytest.mark.parametrize("route", ["async_t2v", "t2v", "async_i2v", "i2v"])
def test_a_body_over_the_limit_is_413_whether_its_length_is_told_or_not(small_box, route):
    form = {"data": {"prompt": "x"}, "files": image_part(bytes(600_000))}
    as_json = {"json": {"prompt": "x", "image": ["x" * 60_000] * 10}}
    kind = form if route.endswith("i2v") else as_json
    request = small_box.client.build_request("POST", f"/v1/video/{route}", **kind)
    content = request.read()
    kind = {"content-type": request.headers["content-type"]}
    chunks = (content[start : start + 50_000] for start in range(0, len(content), 50_000))
    told = refused(small_box.client.post(f"/v1/video/{route}", content=content, headers=kind), 413)
    untold = refused(small_box.client.post(f"/v1/video/{route}", content=chunks, headers=kind), 413)
    for body in (told, untold):
        assert (body.field, body.error_code) == ("body", "too_large")
        assert body.allowed.startswith("at most 2")


@pytest.mark.parametrize("route", ["async_t2v", "async_i2v"])
def test_a_body_that_was_compressed_is_told_so(box, route):
    kind = "multipart/form-data; boundary=x" if route == "async_i2v" else "application/json"
    headers = {"content-type": kind, "content-encoding": "gzip"}
    body = refused(box.client.post(f"/v1/video/{route}", content=gzip.compress(b'{"prompt": "x"}'), headers=headers))
    assert (body.field, body.given) == ("Content-Encoding", '"gzip"')


@pytest.mark.parametrize("coding", ["identity", "utf-8", ""])
def test_a_body_that_is_plain_is_taken_whatever_its_client_calls_that(box, coding):
    answer = box.client.post("/v1/video/async_t2v", json={"prompt": "x"}, headers={"content-encoding": coding})
    assert answer.status_code == 200


@pytest.mark.parametrize("route", ["async_t2v", "async_i2v"])
def test_a_client_that_hangs_up_within_its_body_is_no_error_of_the_server(box, route):
    """Otherwise it would be a 500 in the metrics, and a traceback in the log."""
    parts = iter([{"type": "http.request", "body": b"--x", "more_body": True}, {"type": "http.disconnect"}])
    sent = []

    async def post() -> None:
        async def receive() -> Message:
            return next(parts)

        async def send(message: Message) -> None:
            sent.append(message)

        headers = [(b"content-type", b"multipart/form-data; boundary=x")]
        scope = {
            "type": "http",
            "method": "POST",
            "path": f"/v1/video/{route}",
            "query_string": b"",
            "headers": headers,
        }
        await box.client.app(scope, receive, send)

    asyncio.run(post())
    assert sent[0]["status"] == 422


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("application/json", b'{"prompt": "x"}'),
        ("application/x-www-form-urlencoded", b"prompt=x&image=y"),
        ("", b""),
        ("multipart/form-data", b"--x--"),
        ("multipart/form-data; boundary=x", b""),
        ("multipart/form-data; boundary=x", b"no parts"),
        ("multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: form-data\r\n\r\nx\r\n--x--"),
        ("multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: form-data; name=prompt\r\n\r\nx"),
        ("multipart/form-data; boundary=" + "x" * 1000, b"--x--"),
        ("multipart/form-data; boundary=\xff", b"--x--"),
    ],
)
@pytest.mark.parametrize("route", ["async_i2v", "i2v"])
def test_what_is_no_form_with_a_file_is_refused(box, route, kind, content):
    headers = {"content-type": kind.encode("latin-1")}
    body = refused(box.client.post(f"/v1/video/{route}", content=content, headers=headers))
    assert body.field in ("body", "image")


def test_too_many_fields_or_files_are_refused(box):
    many = {f"field{number}": "x" for number in range(200)}
    refused(box.client.post("/v1/video/async_i2v", data={"prompt": "x", **many}, files=image_part()))
    files = [("image", image_file())] * 20
    refused(box.client.post("/v1/video/async_i2v", data={"prompt": "x"}, files=files))


# -- other errors


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/video/async_t2v"),
        ("PUT", "/v1/video/async_i2v"),
        ("POST", "/v1/video/tasks/abc"),
        ("POST", "/outputs/ltx2_x.mp4"),
        ("DELETE", "/health"),
    ],
)
def test_a_wrong_method_is_405(box, method, path):
    answer = box.client.request(method, path)
    body = refused(answer, 405)
    assert body.error_code == "method_not_allowed"
    assert answer.headers["allow"] in body.error


@pytest.mark.parametrize(
    ("path", "methods"),
    [("/v1/video/tasks/abc", "GET, DELETE"), ("/v1/videos", "GET, POST"), ("/health", "GET, HEAD")],
)
def test_a_405_names_every_method_of_its_path(box, path, methods):
    assert box.client.put(path).headers["allow"] == methods


@pytest.mark.parametrize("path", ["/v1", "/v1/video", "/outputs", "/nowhere", "/health/live", "/v1/video/task"])
def test_an_unknown_path_is_404(box, path):
    body = refused(box.client.get(path, follow_redirects=False), 404)
    assert body.error_code == "not_found"
    assert path in body.error


@pytest.mark.parametrize(
    ("query", "field", "given", "allowed"),
    [
        ("limit=0", "limit", '"0"', "greater than or equal to 1"),
        ("limit=all", "limit", '"all"', "a valid integer"),
        ("state=done", "state", '"done"', "'queued', 'processing'"),
        ("cursor=x", "cursor", '"x"', "next_cursor"),
        ("cursor=1041", "cursor", '"1041"', "next_cursor"),
    ],
)
def test_a_wrong_query_is_refused_as_a_wrong_field_is(box, query, field, given, allowed):
    body = refused(box.client.get(f"/v1/video/tasks?{query}"))
    assert (body.field, body.given, body.error_code) == (field, given, "invalid_request")
    assert allowed in body.allowed


@pytest.mark.parametrize("path", ["/", "/health", "/docs", "/openapi.json", "/skill.md", "/llms.txt"])
def test_head_works_wherever_a_probe_or_a_crawler_looks(box, path):
    head, whole = box.client.head(path), box.client.get(path)
    assert (head.status_code, head.headers["content-type"]) == (200, whole.headers["content-type"])
