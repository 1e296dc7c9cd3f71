"""Mutated images and broken forms: 200 or a documented error, in bounded time and without a leftover file."""

import io
import time

import pillow_heif
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from deployments.ingress.request_body.openapi import EXAMPLE_IMAGE
from tests.ingress.conftest import Box, image_file

pytestmark = pytest.mark.filterwarnings("ignore")
"""As in the server, where a decoder continues after a warning."""
FORMATS = ("JPEG", "PNG", "WEBP", "GIF")
"""Decoded in the receiving process. HEIC and AVIF need one process each, so there are fewer of them."""
APART = ("HEIF", "AVIF")
pillow_heif.register_heif_opener()  # to write HEIC and AVIF
DOCUMENTED = {200, 408, 413, 422, 429, 503}
MOST_S = 20.0
"""Far above the time of any example, and far below that of an endless decoder."""
FUZZ = settings(
    max_examples=300, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
)


def animation(image_format: str) -> bytes:
    buffer = io.BytesIO()
    frames = [Image.effect_noise((48, 32), strength).convert("RGB") for strength in (20, 60)]
    frames[0].save(buffer, image_format, save_all=True, append_images=frames[1:])
    return buffer.getvalue()


WHOLE = [
    *(image_file(48, 32, image_format) for image_format in FORMATS),
    image_file(48, 32, "JPEG", progressive=True, exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0"),
    *(animation(image_format) for image_format in ("PNG", "WEBP", "GIF")),
]


WHOLE_APART = [image_file(64, 64, image_format) for image_format in APART]


@st.composite
def damaged_images(draw: st.DrawFn, whole: list[bytes] = WHOLE) -> bytes:
    """A real file with bytes overwritten, removed, repeated, or replaced by the rest of another file."""
    data = bytearray(draw(st.sampled_from(whole)))
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(data)))
        until = draw(st.integers(at, min(at + 40, len(data))))
        data[at:until] = draw(
            st.one_of(
                st.binary(max_size=40),
                st.sampled_from([b"", b"\xff" * 8, b"\0" * 8, bytes(data[at:until]) * 5]),
                st.sampled_from(WHOLE),
            )
        )
    return bytes(data)


@st.composite
def broken_forms(draw: st.DrawFn) -> bytes:
    """Pieces of multipart bodies in any order, with and without their ends."""
    pieces = st.sampled_from(
        [
            b"--edge\r\n",
            b"--edge--\r\n",
            b"--edge",
            b"\r\n",
            b"\r\n\r\n",
            b'Content-Disposition: form-data; name="prompt"\r\n\r\na lighthouse\r\n',
            b'Content-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n' + image_file() + b"\r\n",
            b'Content-Disposition: form-data; name="image"; filename="../../etc/passwd"\r\n',
            b'Content-Disposition: form-data; name="image"; filename="\xff\xfe\0"\r\n\r\n',
            b"Content-Disposition: form-data; name*=utf-8''%ff; filename*=x'y'%00\r\n\r\n",
            b"Content-Disposition: attachment\r\n\r\n",
            b'Content-Disposition: form-data; name="image"\r\n\r\n' + image_file() + b"\r\n",
            b'Content-Disposition: form-data; name="image"; filename=""\r\n\r\n\r\n',
            b'Content-Disposition: form-data; name="image"\r\n\r\n' + EXAMPLE_IMAGE.encode() + b"\r\n",
            b'Content-Disposition: form-data; name="image"\r\n\r\n{"image_url": "data:,"}\r\n',
            b"Content-Type: text/plain; charset=no-such-charset\r\n\r\n",
            b"Content-Type: multipart/mixed; boundary=edge\r\n\r\n",
            b'Content-Disposition: form-data; name="seed"\r\n\r\nnull\r\n',
            b'Content-Disposition: form-data; name="_charset_"\r\n\r\nutf-7\r\n',
            b"X-Long: " + b"a" * 5000 + b"\r\n",
        ]
    )
    return b"".join(draw(st.lists(st.one_of(pieces, pieces, st.binary(max_size=20)), max_size=12)))


def post(box: Box, content: bytes, kind: str) -> int:
    started = time.monotonic()
    answer = box.client.post("/v1/video/async_i2v", content=content, headers={"Content-Type": kind})
    assert time.monotonic() - started < MOST_S
    assert answer.status_code in DOCUMENTED, answer.text
    if answer.status_code != 200:
        assert answer.json()["error_code"]
    return answer.status_code


def kept(box: Box) -> int:
    return len(list(box.folder.glob("store/inputs/*")))


def form_of(image: bytes) -> bytes:
    head = b'--edge\r\nContent-Disposition: form-data; name="%b"'
    prompt = head % b"prompt" + b"\r\n\r\na lighthouse\r\n"
    image = head % b"image" + b'; filename="a.jpg"\r\n\r\n' + image + b"\r\n"
    return prompt + image + b"--edge--\r\n"


def test_whole_images_are_taken(box):
    """Ensures that the fuzzing below starts from accepted requests."""
    assert [post(box, form_of(image), "multipart/form-data; boundary=edge") for image in WHOLE] == [200] * len(WHOLE)


def test_damaged_images_are_taken_or_refused(box):
    seen = set()

    @FUZZ
    @given(damaged_images())
    def try_it(image: bytes) -> None:
        before = kept(box)
        status = post(box, form_of(image), "multipart/form-data; boundary=edge")
        assert kept(box) - before == (status == 200)
        seen.add(status)

    try_it()
    assert seen == {200, 422}


def test_damaged_files_that_are_decoded_apart_are_taken_or_refused(box):
    seen = [post(box, form_of(image), "multipart/form-data; boundary=edge") for image in WHOLE_APART]
    assert seen == [200, 200]

    @settings(FUZZ, max_examples=24)
    @given(damaged_images(WHOLE_APART))
    def try_it(image: bytes) -> None:
        before = kept(box)
        status = post(box, form_of(image), "multipart/form-data; boundary=edge")
        assert kept(box) - before == (status == 200)
        seen.append(status)

    try_it()
    assert 422 in seen


def test_broken_forms_are_refused(box):
    seen = set()

    @FUZZ
    @given(
        broken_forms(),
        st.sampled_from(
            [
                "edge",
                '"edge"',
                "edg",
                "edge; charset=utf-16",
                "edge; charset=idna",
                "edge; charset=undefined",
                "",
                "\x7f",
                "e" * 300,
            ]
        ),
    )
    def try_it(form: bytes, boundary: str) -> None:
        before = kept(box)
        status = post(box, form, f"multipart/form-data; boundary={boundary}")
        assert kept(box) - before == (status == 200)
        seen.add(status)

    try_it()
    assert 422 in seen


@st.composite
def broken_json(draw: st.DrawFn) -> bytes:
    """JSON with an image, whose pieces are reordered, repeated or broken. Some are longer than a field may be."""
    pieces = [
        *(
            b'{"prompt": "x", "image": "',
            b'"}',
            b'", "seed": -1}',
            b'{"image_url": "',
            b'"}}',
            b'"',
            b"\\",
            b'\\"',
            b"\\/",
        ),
        *(
            EXAMPLE_IMAGE.encode(),
            b"data:image/png;base64,",
            b"data:",
            b",",
            b"=",
            b"%2B",
            b"%",
            b"\\u002B",
            b"-_",
            b"\xff",
        ),
        *(
            b"A" * 70_000,
            b"A" * 300_000,
            b'"' * 1000,
            b"\\" * 3000,
            b"[" * 2000,
            b'"a",' * 80_000,
            b" " * 300_000,
            b"\0",
        ),
    ]
    body = draw(st.lists(st.sampled_from(pieces), max_size=8))
    whole = b'{"prompt": "x", "image": "%b"}' % EXAMPLE_IMAGE.encode()
    at = draw(st.integers(0, len(whole)))
    return draw(st.sampled_from([b"".join(body), whole[:at] + b"".join(body) + whole[at:]]))


def test_broken_json_with_an_image_is_taken_or_refused(box):
    seen = set()

    @settings(FUZZ, max_examples=80)
    @given(broken_json())
    def try_it(content: bytes) -> None:
        before = kept(box)
        status = post(box, content, "application/json")
        assert kept(box) - before == (status == 200)
        seen.add(status)

    try_it()
    assert seen >= {413, 422}
    assert post(box, b'{"prompt": "x", "image": "%b"}' % EXAMPLE_IMAGE.encode(), "application/json") == 200


@pytest.mark.parametrize("image", WHOLE, ids=range(len(WHOLE)))
def test_an_image_cut_anywhere_is_taken_or_refused(box, image):
    for end in range(0, len(image), max(1, len(image) // 12)):
        post(box, form_of(image[:end]), "multipart/form-data; boundary=edge")
