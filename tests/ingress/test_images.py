"""A request's image: files from phones are accepted, all others are rejected with the reason."""

import io
import random
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pillow_heif
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from deployments.ingress.images.child_process import IN_CHILD_PROCESS
from deployments.ingress.images.fitting import MAX_KEPT_SIDE, encode_input, fit_image
from deployments.ingress.images.reading import LEAST_SIDE, read_image
from models.errors import ImageTooLarge, InvalidRequest
from models.request.enums import ImageFit
from models.request.request import RequestLimits, VideoRequest

LIMITS = RequestLimits()
ORANGE = (230, 120, 20)
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "HEIF", "AVIF")
pillow_heif.register_heif_opener()  # to write HEIC and AVIF


def make_image(width: int = 60, height: int = 40, mode: str = "RGB") -> Image.Image:
    """Red on the left, blue on the right."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:, : width // 2, 0] = 200
    pixels[:, width // 2 :, 2] = 200
    return Image.fromarray(pixels).convert(mode)


def file_of(image: Image.Image, image_format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def close(given: object, wanted: tuple[int, ...], tolerance: int = 8) -> bool:
    return bool(np.abs(np.subtract(given, wanted)).max() <= tolerance)


def request(fit: ImageFit = ImageFit.CROP, height: int = 512, width: int = 768, num_frames: int = 121) -> VideoRequest:
    return VideoRequest(prompt="x", fit=fit, height=height, width=width, num_frames=num_frames)


def png_header(width: int, height: int) -> bytes:
    """A PNG with this size in its header, and almost no content."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("image_format", FORMATS)
def test_every_format_is_read_as_upright_rgb(image_format):
    image = read_image(file_of(make_image(), image_format), LIMITS)
    assert (image.mode, image.size) == ("RGB", (60, 40))
    assert close(image.getpixel((5, 20)), (200, 0, 0))
    assert close(image.getpixel((55, 20)), (0, 0, 200))


@pytest.mark.parametrize(
    ("mode", "image_format"),
    [
        ("1", "PNG"),
        ("L", "JPEG"),
        ("LA", "PNG"),
        ("P", "GIF"),
        ("P", "PNG"),
        ("RGBA", "WEBP"),
        ("CMYK", "JPEG"),
    ],
)
def test_every_mode_is_read_as_rgb(mode, image_format):
    image = read_image(file_of(make_image(mode=mode), image_format), LIMITS)
    assert (image.mode, image.size) == ("RGB", (60, 40))


def test_sixteen_bit_grey_keeps_its_brightness():
    pixels = np.full((8, 8), 0x8000, np.uint16)
    image = read_image(file_of(Image.fromarray(pixels), "PNG"), LIMITS)
    assert close(image.getpixel((4, 4)), (128, 128, 128), 1)


@pytest.mark.parametrize("image_format", ["PNG", "WEBP", "GIF"])
def test_transparent_parts_become_white(image_format):
    clear = Image.new("RGBA", (8, 8), (10, 20, 30, 0))
    assert read_image(file_of(clear, image_format), LIMITS).getpixel((4, 4)) == (255, 255, 255)


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize(("orientation", "red_corner"), [(3, (35, 10)), (6, (10, 5)), (8, (10, 35))])
def test_exif_orientation_is_honoured(image_format, orientation, red_corner):
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = read_image(file_of(make_image(40, 20), image_format, exif=exif.tobytes()), LIMITS)
    assert image.size == ((40, 20) if orientation == 3 else (20, 40))
    assert close(image.getpixel(red_corner), (200, 0, 0), 12)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_a_damaged_exif_does_not_refuse_a_sound_image():
    data = file_of(make_image(), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01\x12")
    assert read_image(data, LIMITS).size == (60, 40)


@pytest.mark.parametrize("image_format", ["PNG", "WEBP", "GIF"])
def test_an_animation_gives_its_first_frame(image_format):
    frames = [Image.new("RGB", (16, 16), color) for color in (ORANGE, (0, 0, 0))]
    data = file_of(frames[0], image_format, save_all=True, append_images=frames[1:])
    assert close(read_image(data, LIMITS).getpixel((8, 8)), ORANGE, 12)


def test_an_icc_profile_is_applied():
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    linear_like = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    plain = read_image(file_of(Image.new("RGB", (8, 8), ORANGE), "PNG", icc_profile=linear_like), LIMITS)
    assert close(plain.getpixel((4, 4)), ORANGE, 1)
    mismatched = read_image(file_of(Image.new("RGB", (8, 8), ORANGE), "PNG", icc_profile=lab), LIMITS)
    assert close(mismatched.getpixel((4, 4)), ORANGE, 1)


def test_a_profile_with_swapped_primaries_swaps_the_colors():
    """The profile is applied: it swaps red and green, and so does the converted image."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    at = {bytes(profile[i : i + 4]): i for i in range(132, 132 + 12 * profile[131], 12)}
    red, green = at[b"rXYZ"], at[b"gXYZ"]
    profile[red + 4 : red + 12], profile[green + 4 : green + 12] = (
        profile[green + 4 : green + 12],
        profile[red + 4 : red + 12],
    )
    data = file_of(Image.new("RGB", (8, 8), (200, 0, 0)), "PNG", icc_profile=bytes(profile))
    assert close(read_image(data, LIMITS).getpixel((4, 4)), (0, 200, 0), 3)


@pytest.mark.parametrize(
    ("data", "given"),
    [
        (b"", "0 bytes"),
        (b"hello, this is not an image file", "32 bytes in another format"),
        (b"\0\0\0\x18ftypheic" + bytes(40), "a damaged HEIC file"),
        (b"\0\0\0\x18ftypavif" + bytes(40), "a damaged AVIF file"),
        (b"\0\0\0\x18ftypisom" + bytes(40), "another format"),
        (b"BM" + bytes(60), "another format"),
        (b"\xff\xd8\xff\xe0", "damaged"),
    ],
)
def test_what_is_no_image_is_refused_by_name(data, given):
    with pytest.raises(InvalidRequest) as caught:
        read_image(data, LIMITS)
    assert caught.value.field == "image"
    assert given in caught.value.given
    assert caught.value.allowed in ("a JPEG, PNG, WebP, GIF, HEIC or AVIF file", "a whole and undamaged file")


@pytest.mark.parametrize("image_format", ["BMP", "TIFF", "ICO", "PPM", "JPEG2000"])
def test_other_formats_that_pillow_reads_are_refused(image_format):
    with pytest.raises(InvalidRequest):
        read_image(file_of(make_image(), image_format), LIMITS)


def test_too_many_bytes_are_told_apart():
    with pytest.raises(ImageTooLarge) as caught:
        read_image(bytes(101), RequestLimits(max_image_bytes=100))
    assert caught.value.code == "image_too_large"
    assert "101 bytes" in caught.value.message
    assert "100 bytes" in caught.value.message


@pytest.mark.parametrize("image_format", FORMATS)
def test_too_many_pixels_are_refused(image_format):
    with pytest.raises(InvalidRequest, match=r"at most 0\.001 megapixels"):
        read_image(file_of(make_image(), image_format), RequestLimits(max_image_pixels=1000))


@pytest.mark.parametrize(
    ("side", "bound"),
    [
        (10_000, "a PNG file of at most 89.48 megapixels"),
        (30_000, "at most 210 megapixels"),
        (2**31 - 1, "at most 210 megapixels"),
    ],
)
def test_a_bomb_is_refused_by_its_header(side, bound):
    with pytest.raises(InvalidRequest, match=bound):
        read_image(png_header(side, side), LIMITS)


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP"])
def test_a_truncated_file_is_refused(image_format):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    data = file_of(noise, image_format)
    with pytest.raises(InvalidRequest):
        read_image(data[: len(data) // 2], LIMITS)


def test_a_photo_of_many_pixels_comes_back_smaller_but_large_enough():
    image = read_image(file_of(make_image(8000, 6000), "JPEG"), LIMITS)
    assert image.width * 3 == image.height * 4
    assert LEAST_SIDE <= image.height < 2 * LEAST_SIDE
    image = read_image(file_of(make_image(5500, 4700), "WEBP"), LIMITS)
    assert image.size == (2750, 2350)


def read_or_refuse(data: bytes) -> None:
    try:
        assert read_image(data, LIMITS).mode == "RGB"
    except InvalidRequest as error:
        assert error.field == "image"  # noqa: PT017


def samples() -> list[bytes]:
    exif = Image.Exif()
    exif[0x0112] = 6
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    options = {"exif": exif.tobytes(), "icc_profile": profile}
    small = make_image(24, 16)
    return [
        *(file_of(small, image_format, **options) for image_format in ("JPEG", "PNG", "WEBP")),
        *(
            file_of(small, image_format) for image_format in FORMATS if image_format not in IN_CHILD_PROCESS
        ),  # one process each
        file_of(small, "JPEG", progressive=True),
        file_of(small.convert("P"), "PNG"),
        file_of(small.convert("RGBA"), "PNG"),
        file_of(small.convert("CMYK"), "JPEG"),
        file_of(small, "MPO", save_all=True, append_images=[small]),
        *(
            file_of(small, image_format, save_all=True, append_images=[make_image(24, 16).rotate(180)])
            for image_format in ("PNG", "WEBP", "GIF")
        ),
    ]


SAMPLES = samples()


@pytest.mark.filterwarnings("ignore")  # as in the server, where a decoder continues after a warning
@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300), st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"RIFF"]))
def test_random_bytes_are_read_or_refused(data, start):
    read_or_refuse(start + data)


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=300, deadline=None)
@given(st.sampled_from(SAMPLES), st.randoms(use_true_random=False), st.floats(0, 1), st.integers(0, 12))
def test_damaged_files_are_read_or_refused(sample: bytes, rng: random.Random, kept: float, flips: int):
    data = bytearray(sample if kept > 0.6 else sample[: int(len(sample) * kept / 0.6)])
    for _ in range(flips if data else 0):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    read_or_refuse(bytes(data))


def test_several_threads_read_at_once():
    with ThreadPoolExecutor(4) as pool:
        images = list(pool.map(lambda data: read_image(data, LIMITS), SAMPLES * 8))
    assert {image.mode for image in images} == {"RGB"}


def test_crop_fills_the_size_from_the_centre():
    image, same = fit_image(make_image(150, 50), request(ImageFit.CROP, 128, 128), LIMITS)
    assert image.size == (128, 128)
    assert same == request(ImageFit.CROP, 128, 128)
    assert close(image.getpixel((5, 5)), (200, 0, 0))
    assert close(image.getpixel((122, 122)), (0, 0, 200))


def test_pad_shows_all_of_it_between_black_bars():
    image, _ = fit_image(Image.new("RGB", (180, 60), ORANGE), request(ImageFit.PAD, 128, 192), LIMITS)
    assert image.size == (192, 128)
    assert image.getpixel((96, 5)) == image.getpixel((96, 122)) == (0, 0, 0)
    assert image.getpixel((1, 64)) == image.getpixel((190, 64)) == ORANGE


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ((3024, 4032), (576, 768)),
        ((1080, 1920), (448, 832)),
        ((500, 500), (640, 640)),
        ((768, 512), (768, 512)),
    ],
)
def test_match_takes_the_shape_of_the_image(shape, size):
    image, changed = fit_image(Image.new("RGB", shape), request(ImageFit.MATCH), LIMITS)
    assert (changed.width, changed.height) == size
    assert_fits(image, shape, changed)
    assert changed.prompt == "x"


def assert_fits(image: Image.Image, sent: tuple[int, int], asked: VideoRequest) -> None:
    """The image has the video's size, or, if a larger one was sent, its exact aspect ratio at a larger size."""
    size = (asked.width, asked.height)
    ratios = [theirs / ours for theirs, ours in zip(sent, size, strict=True)]
    if (max if asked.fit is ImageFit.PAD else min)(ratios) <= 1:
        assert image.size == size
        return
    assert all(kept >= ours for kept, ours in zip(image.size, size, strict=True))
    assert max(image.size) <= MAX_KEPT_SIDE
    off = image.width - image.height * asked.width / asked.height
    assert abs(off) <= 2 * max(1, asked.width / asked.height)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(ImageFit),
    st.integers(1, 3000),
    st.integers(1, 3000),
    st.integers(1, 30),
    st.integers(1, 30),
    st.sampled_from([9, 121, 481]),
)
def test_the_image_has_the_shape_of_the_request_within_the_limits(  # noqa: PLR0917
    fit, width, height, across, down, num_frames
):
    if across * down * 64 * 64 * num_frames > LIMITS.max_total_pixels:
        num_frames = 9
    asked = request(fit, 64 * down, 64 * across, num_frames)
    image, changed = fit_image(Image.new("RGB", (width, height)), asked, LIMITS)
    assert changed.width * changed.height * num_frames <= LIMITS.max_total_pixels
    assert max(changed.width, changed.height) <= LIMITS.max_side_px
    assert_fits(image, (width, height), changed)
    assert changed.width % 64 == changed.height % 64 == 0
    if fit is not ImageFit.MATCH:
        assert changed == asked


@pytest.mark.parametrize("shape", [(1, 60_000), (60_000, 1)])
@pytest.mark.parametrize("fit", list(ImageFit))
def test_an_image_of_an_extreme_shape_is_fitted(shape, fit):
    image = read_image(file_of(Image.new("RGB", shape, ORANGE), "PNG"), LIMITS)
    fitted, changed = fit_image(image, request(fit), LIMITS)
    assert_fits(fitted, shape, changed)


def test_a_larger_image_keeps_its_own_resolution_in_the_shape_of_the_video():
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 501, 3), dtype=np.uint8))
    kept, _ = fit_image(noise, request(ImageFit.CROP, 128, 128), LIMITS)
    assert np.array_equal(kept, noise.crop((100, 0, 401, 300)))
    padded, _ = fit_image(noise, request(ImageFit.PAD, 128, 128), LIMITS)
    assert padded.size == (501, 501)
    assert np.array_equal(padded.crop((0, 100, 501, 400)), noise)


def test_an_image_larger_than_what_is_kept_is_shrunk_to_it():
    kept, _ = fit_image(Image.new("RGB", (6000, 4000), ORANGE), request(ImageFit.CROP, 512, 768), LIMITS)
    assert kept.size == (4608, 3072)


def test_the_kept_input_is_lossless_at_the_size_of_the_video_and_nearly_so_above():
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 128, 3), dtype=np.uint8))
    kept = Image.open(io.BytesIO(encode_input(noise, request(height=64, width=128))))
    assert (kept.format, kept.mode) == ("PNG", "RGB")
    assert np.array_equal(kept, noise)
    kept = Image.open(io.BytesIO(encode_input(noise, request(height=64, width=64))))
    assert (kept.format, kept.mode) == ("JPEG", "RGB")
    assert np.abs(np.asarray(kept, int) - np.asarray(noise, int)).mean() < 6
