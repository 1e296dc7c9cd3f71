"""Any fields in any shape under /v1/videos: 200, or a documented error in OpenAI's format. Never a 5xx."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from deployments.ingress.openai.mapping import (
    EXACT_WORDS,
    IMAGE_NAMES,
    NOT_SERVED,
    OBJECTS,
    ONE_VIDEO,
    RENAMED,
    RENAMED_EXTRA,
)
from deployments.ingress.request_body.openapi import EXAMPLE_IMAGE
from models.request.places import OTHER_IMAGES, PLACE_FIELDS
from models.request.request import VideoRequest
from tests.ingress.conftest import MODEL, PROMPT, Box
from tests.ingress.fuzz import FUZZ, json_values

DOCUMENTED = {200, 408, 413, 422, 429}
"""Not 503: the store works here."""
OWN_NAMES = [name for name in VideoRequest.model_fields if name != "prompt"]
NAMES = sorted(
    {
        *OWN_NAMES,
        *IMAGE_NAMES.in_form,
        *NOT_SERVED,
        *ONE_VIDEO,
        *RENAMED,
        *OBJECTS,
        *(f"{each}[{name}]" for each in OBJECTS for name in (*RENAMED_EXTRA, *RENAMED, "", "a][b")),
        *(*OTHER_IMAGES, *PLACE_FIELDS, "keyframe[]", "keyframe_at[]"),
        *("model", "size", "seconds", "quality", "user", "extra_params[", "[]", ""),
    }
)
NEAR_MISSES = [
    *("1280x720", "1x1", "0x0", "99999x99999", "1280X720", "\u0661\u0662x64"),
    *("4", "1.5s", "0.5", "12.5", "-1", "nan", "1e999", "\u0664", " 4 "),
    *("sora-2", "sora-2-2025-12-08", MODEL, *EXACT_WORDS, "fast", "true", "null", "{}", "[", '{"seed": [7]}', "\ud800"),
    *(EXAMPLE_IMAGE, "data:,", "http://", "http://127.0.0.1/", "https://[", "http://x y/", "HTTP://localhost", "\0"),
]
VALUES = json_values(NEAR_MISSES, [*NAMES, "image_url", "url", "file_id", *RENAMED_EXTRA])
FIELDS = st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=5)


def check(box: Box, **request: Any) -> int:
    answer = box.client.post("/v1/videos", **request)
    assert answer.status_code in DOCUMENTED, answer.text
    if answer.status_code != 200:
        error = answer.json()["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert error["code"]
        if answer.status_code == 422:
            assert error["param"]
            assert error["message"].startswith(f"{error['param']} must be")
    return answer.status_code


def test_any_json_is_taken_or_refused_in_openai_s_format(open_box):
    box, seen = open_box(ingress={"max_queued": 10_000}), set()

    @FUZZ
    @given(FIELDS)
    def try_it(fields: dict[str, Any]) -> None:
        content = json.dumps({"prompt": PROMPT, **fields})
        seen.add(check(box, content=content, headers={"Content-Type": "application/json"}))

    try_it()
    assert seen >= {200, 422}


def test_any_form_is_taken_or_refused_in_openai_s_format(open_box):
    box, seen = open_box(ingress={"max_queued": 10_000}), set()

    def as_part(value: object) -> tuple[str | None, bytes]:
        """A field, or a file where an image would be none."""
        text = value if isinstance(value, str) else json.dumps(value)
        return ("a.bin" if isinstance(value, list) else None, text.encode(errors="surrogatepass"))

    @FUZZ
    @given(FIELDS)
    def try_it(fields: dict[str, Any]) -> None:
        parts = {"prompt": (None, PROMPT), **{name: as_part(value) for name, value in fields.items()}}
        seen.add(check(box, files=parts))

    try_it()
    assert seen >= {200, 422}
