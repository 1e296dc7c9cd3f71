"""Any fields in any shape in the hosted LTX API: success, or a documented error in its format. Never a 422 or a 5xx."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.ingress.ltx_api.mapping import CAMERA_MOTIONS, OWN_FIELDS
from deployments.ingress.request_body.openapi import EXAMPLE_IMAGE
from tests.ingress.conftest import MODEL, PROMPT, Box
from tests.ingress.fuzz import FUZZ, json_values

DOCUMENTED = {202: None, 400: "invalid_request_error", 413: "request_too_large", 429: "concurrency_limit_error"}
VALID = {
    "prompt": PROMPT,
    "model": "ltx-2-3-fast",
    "resolution": "128x128",
    "duration": 1,
    "image_uri": EXAMPLE_IMAGE,
}
NAMES = sorted(
    {
        *VALID,
        *OWN_FIELDS,
        *("fps", "generate_audio", "camera_motion", "last_frame_uri", "enhance_prompt"),
        *("width", "num_frames", "frame_rate", "image", "length", "", "\0"),
    }
)
NEAR_MISSES = [
    *("1280x720", "1x1", "0x0", "99999x99999", "1280X720", "\u0661\u0662x64"),
    *("4", "12.5", "-1", "nan", "1e999", "\u0664", " 4 ", "true", "null", "{}", "[", "\ud800"),
    *("ltx-2-fast", "ltx-2-3-pro", MODEL, *CAMERA_MOTIONS),
    *(EXAMPLE_IMAGE, "data:,", "http://", "http://127.0.0.1/", "https://[", "http://x y/", "HTTP://localhost", "\0"),
    *("ltx://uploads/", "ltx://uploads/up_\0", "ltx://", "http://192.168.1.26:8004/outputs/", "/outputs/\0"),
    "http://192.168.1.26:8004/outputs/ltx2_" + "0" * 32 + ".jpg?expires=\ud800&signature=[",
]
VALUES = json_values(NEAR_MISSES, [*NAMES, "image_url"])
FIELDS = st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=4)


@pytest.mark.parametrize("path", ["/v2/text-to-video", "/v2/image-to-video"])
def test_any_json_is_taken_or_refused_in_the_format_of_the_api(open_box: Callable[..., Box], path: str) -> None:
    box, seen = open_box(ingress={"max_queued": 10_000}), set()

    @FUZZ
    @given(FIELDS)
    def try_it(fields: dict[str, Any]) -> None:
        content = json.dumps({**VALID, **fields})
        answer = box.client.post(path, content=content, headers={"Content-Type": "application/json"})
        assert answer.status_code in DOCUMENTED, answer.text
        seen.add(answer.status_code)
        if answer.status_code != 202:
            assert answer.json()["type"] == "error"
            assert answer.json()["error"]["type"] == DOCUMENTED[answer.status_code]
            assert " must be " in answer.json()["error"]["message"]

    try_it()
    assert seen >= {202, 400}


@pytest.mark.parametrize("content", [b"", b"null", b"[]", b'"x"', b"{", b"\xff", b'{"prompt":' + b"[" * 5000, b"1" * 9])
@pytest.mark.parametrize("path", ["/v1/text-to-video", "/v1/image-to-video", "/v2/extend", "/v1/upload"])
def test_any_body_is_answered(box: Box, path: str, content: bytes) -> None:
    answer = box.client.post(path, content=content)
    assert answer.status_code == (200 if path == "/v1/upload" else 400)


@pytest.mark.parametrize(
    "path", ["x/%00", "%00/x", "text-to-video/" + "x" * 3000, "text-to-video/%F0%9F%8E%A5", "a/b/c"]
)
def test_any_path_of_a_job_is_a_404(box: Box, path: str) -> None:
    answer = box.client.get(f"/v2/{path}")
    assert (answer.status_code, answer.json()["error"]["type"]) == (404, "not_found_error")
