"""Data outside the image rejects no valid file, and conversion is lossless: formats, modes, depths, transparency."""

import io
import struct
import subprocess
import zlib

import numpy as np
import numpy.typing as npt
import pillow_heif
import pytest
from PIL import Image, ImageCms

from deployments.ingress.images import child_process, gif, png, webp
from deployments.ingress.images.formats import MAX_PARTS, Format, find_format
from deployments.ingress.images.reading import read_image
from models.errors import InvalidRequest
from models.request.request import RequestLimits

LIMITS = RequestLimits()
WIDTH, HEIGHT = 64, 48
RAMP = np.linspace(0, 1, WIDTH)[None].repeat(HEIGHT, 0)
"""From black on the left to white on the right."""
pillow_heif.register_heif_opener()  # to write HEIC and AVIF


def file_of(image: Image.Image, image_format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def ramp(mode: str) -> Image.Image:
    return Image.fromarray((RAMP * 255).astype(np.uint8)).convert(mode)


def pixels(data: bytes, limits: RequestLimits = LIMITS) -> npt.NDArray[np.float64]:
    image = read_image(data, limits)
    assert image.mode == "RGB"
    return np.asarray(image, float)


def assert_ramp(got: npt.NDArray[np.float64], tolerance: float = 3) -> None:
    """Check mean and extremes, so that no image comes out white, black or gray."""
    assert got.shape[:2] == (HEIGHT, WIDTH)
    assert abs(got.mean() - 127.5) <= tolerance
    assert got.min() <= tolerance + 4
    assert got.max() >= 251 - tolerance
    assert np.abs(got - RAMP[..., None] * 255).mean() <= tolerance + 2


def make_png(depth: int, color: int, samples: npt.NDArray[np.int64], *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG of `samples` (H, W, channels), in any depth: Pillow can write only some of them."""
    rows = samples.reshape(len(samples), -1)
    if depth == 16:
        packed = rows.astype(">u2").view(np.uint8)
    elif depth == 8:
        packed = rows.astype(np.uint8)
    else:
        bits = ((rows[..., None] >> np.arange(depth - 1, -1, -1)) & 1).reshape(len(rows), -1)
        packed = np.packbits(bits.astype(np.uint8), axis=1)
    body = b"".join(b"\0" + row.tobytes() for row in packed)
    head = struct.pack(">IIBBBBB", samples.shape[1], samples.shape[0], depth, color, 0, 0, 0)
    parts = [(b"IHDR", head), *chunks, (b"IDAT", zlib.compress(body)), (b"IEND", b"")]
    return png.SIGNATURE + b"".join(chunk(*part) for part in parts)


def chunk(name: bytes, body: bytes, damage: int = 0) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body) ^ damage)


def scaled(depth: int, channels: int = 1) -> npt.NDArray[np.int64]:
    levels = np.round(RAMP * (2**depth - 1)).astype(np.int64)
    return levels[..., None].repeat(channels, 2)


GREY, RGB, PALETTE, GREY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6
CHANNELS = {GREY: 1, RGB: 3, GREY_ALPHA: 2, RGB_ALPHA: 4}
DEPTHS = [(GREY, 1), (GREY, 2), (GREY, 4), (GREY, 8), (GREY, 16), (RGB, 8), (RGB, 16)]


@pytest.mark.parametrize(
    ("color", "depth"), [*DEPTHS, (GREY_ALPHA, 8), (GREY_ALPHA, 16), (RGB_ALPHA, 8), (RGB_ALPHA, 16)]
)
def test_a_png_of_every_depth_keeps_its_brightness(color, depth):
    samples = scaled(depth, CHANNELS[color])
    if color in (GREY_ALPHA, RGB_ALPHA):
        samples[..., -1] = 2**depth - 1
    assert_ramp(pixels(make_png(depth, color, samples)), tolerance=3 + 160 / 2 ** min(depth, 8) * (depth < 8))


@pytest.mark.parametrize(("color", "depth"), DEPTHS)
def test_a_transparent_color_of_a_png_becomes_white_and_nothing_else_does(color, depth):
    """Observed: a 16-bit gray image became white; a 16-bit color one and gray ones of 2 and 4 bits lost it."""
    samples, count = scaled(depth, CHANNELS[color]), 1 if color == GREY else 3
    darkest = struct.pack(f">{count}H", *[0] * count)
    got = pixels(make_png(depth, color, samples, (b"tRNS", darkest)))
    clear = (samples == 0).all(axis=2)
    assert (got[clear] == 255).all()
    assert np.abs(got[~clear] - (samples[~clear] * 255 / (2**depth - 1))).max() <= 1.01


def test_colors_that_differ_in_the_low_byte_alone_stay_opaque():
    samples = np.full((4, 4, 3), 0x1234, np.int64)
    samples[0, 0] = 0x1235
    got = pixels(make_png(16, RGB, samples, (b"tRNS", struct.pack(">3H", *[0x1235] * 3))))
    assert (got[0, 0] == 255).all()
    assert (got[1:] == 0x12).all()


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_a_palette_of_every_depth_keeps_its_colors_and_its_transparency(depth):
    count = 2**depth
    greys = [round(at * 255 / (count - 1)) for at in range(count)]
    palette = (b"PLTE", bytes(value for grey in greys for value in (grey,) * 3))
    tolerance = 3 + 160 / count * (depth < 8)
    assert_ramp(pixels(make_png(depth, PALETTE, scaled(depth), palette)), tolerance)
    got = pixels(make_png(depth, PALETTE, scaled(depth), palette, (b"tRNS", b"\0")))
    assert (got[scaled(depth)[..., 0] == 0] == 255).all()


@pytest.mark.parametrize(
    ("image_format", "mode", "options"),
    [
        ("JPEG", "L", {}),
        ("JPEG", "RGB", {}),
        ("JPEG", "RGB", {"progressive": True}),
        ("JPEG", "RGB", {"keep_rgb": True}),
        ("JPEG", "CMYK", {}),
        ("JPEG", "CMYK", {"progressive": True}),
        ("MPO", "RGB", {"save_all": True, "append_images": [ramp("RGB").rotate(180)]}),
        ("WEBP", "RGB", {}),
        ("WEBP", "RGB", {"lossless": True}),
        ("WEBP", "RGBA", {}),
        ("WEBP", "RGBA", {"lossless": True}),
        ("WEBP", "RGB", {"save_all": True, "append_images": [ramp("RGB").rotate(180)]}),
        ("GIF", "L", {}),
        ("GIF", "P", {"save_all": True, "append_images": [ramp("P").rotate(180)], "comment": b"hello"}),
        ("PNG", "RGB", {"save_all": True, "append_images": [ramp("RGB").rotate(180)]}),
        ("HEIF", "L", {}),
        ("HEIF", "RGB", {}),
        ("HEIF", "RGBA", {}),
        ("HEIF", "I;16", {}),
        ("AVIF", "L", {}),
        ("AVIF", "RGB", {}),
        ("AVIF", "RGBA", {}),
        ("AVIF", "RGB", {"save_all": True, "append_images": [ramp("RGB").rotate(180)]}),
    ],
)
def test_every_format_and_mode_shows_the_image(image_format, mode, options):
    image = ramp(mode) if mode != "I;16" else Image.fromarray((RAMP * 65535).astype(np.uint16))
    assert_ramp(pixels(file_of(image, image_format, **options)), tolerance=5)


@pytest.mark.parametrize("depth", [10, 12])
def test_an_avif_of_more_bits_shows_the_image(depth, tmp_path):
    path = tmp_path / "deep.avif"
    source = ["-f", "rawvideo", "-pix_fmt", "gray", "-s", f"{WIDTH}x{HEIGHT}", "-i", "-", "-frames:v", "1"]
    shape = ["-vf", "scale=out_range=full", "-color_range", "pc", "-pix_fmt", f"yuv444p{depth}le"]
    coded = ["-c:v", "libaom-av1", "-cpu-used", "8", "-crf", "5", "-still-picture", "1"]
    command = ["ffmpeg", "-v", "error", *source, *shape, *coded, str(path)]
    subprocess.run(command, input=ramp("L").tobytes(), check=True)
    got = pixels(path.read_bytes())
    assert_ramp(got)


@pytest.mark.parametrize("image_format", ["PNG", "WEBP", "HEIF", "AVIF"])
def test_what_is_transparent_shows_white(image_format):
    half = ramp("RGBA")
    half.putalpha(Image.fromarray(np.where(RAMP < 0.5, 0, 255).astype(np.uint8)))
    got = pixels(file_of(half, image_format))
    assert got[:, : WIDTH // 2 - 8].min() > 245
    assert np.abs(got[:, WIDTH // 2 + 8 :] - RAMP[:, WIDTH // 2 + 8 :, None] * 255).mean() < 6


@pytest.mark.parametrize("image_format", ["HEIF", "AVIF"])
def test_orientation_is_honoured_where_it_is_a_property(image_format):
    exif = Image.Exif()
    exif[0x0112] = 6
    got = pixels(file_of(ramp("RGB"), image_format, exif=exif.tobytes()))
    assert got.shape[:2] == (WIDTH, HEIGHT)
    assert got[0].mean() < 10
    assert got[-1].mean() > 245


def display_p3() -> bytes:
    """A profile with Display P3's primaries, made from the sRGB profile."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    at = {bytes(profile[i : i + 4]): i for i in range(132, 132 + 12 * profile[131], 12)}
    primaries = {
        b"rXYZ": (0.5151, 0.2412, -0.0011),
        b"gXYZ": (0.2920, 0.6922, 0.0419),
        b"bXYZ": (0.1571, 0.0666, 0.7841),
    }
    for name, xyz in primaries.items():
        where = int.from_bytes(profile[at[name] + 4 : at[name] + 8], "big") + 8
        profile[where : where + 12] = struct.pack(">3i", *(round(value * 65536) for value in xyz))
    return bytes(profile)


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "HEIF", "AVIF"])
def test_display_p3_is_brought_to_srgb(image_format):
    """(200, 100, 60) of Display P3 is (218, 95, 45) in sRGB, by the matrices of both."""
    image = Image.new("RGB", (64, 64), (200, 100, 60))
    got = pixels(file_of(image, image_format, icc_profile=display_p3(), quality=95))
    assert np.abs(got.mean(axis=(0, 1)) - (216, 95, 47)).max() < 6
    assert got.mean(axis=(0, 1))[0] > 208, "the profile was not used"


def riff(data: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    more = b"".join(name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2) for name, body in chunks)
    return data[:4] + struct.pack("<I", len(data) - 8 + len(more)) + data[8:] + more


JPEG = file_of(ramp("RGB"), "JPEG")
PNG = file_of(ramp("RGB"), "PNG")
WEBP = file_of(ramp("RGB"), "WEBP")
GIF = file_of(ramp("L"), "GIF")
GIF_COLORS_END = 13 + (3 << (GIF[10] & 7) + 1)
TEXT = zlib.compress(b"a workflow " * 200_000)
MP4 = b"\0\0\0\x18ftypmp42" + b"\xff\xda\xff\xd8\xff\xe1" * 50_000


@pytest.mark.parametrize(
    "data",
    [
        JPEG + MP4,
        JPEG + JPEG,
        JPEG[:2] + b"\xff\xe2\x00\x08MPF\0\xff\xff" + JPEG[2:],
        JPEG[:2] + b"\xff\xe0\x00\x07JFIF\0" + JPEG[2:],
        JPEG[:2] + b"\xff\xee\x00\x07Adobe" + JPEG[2:],
        JPEG[:2] + b"\xff\xe1\x00\x0aExif\0\0\xff\xff" + JPEG[2:],
        JPEG[:2] + b"\xff\xfe\xff\xff" + bytes(65533) + JPEG[2:],
        PNG[:33] + chunk(b"iTXt", b"XML\0\1\0\0\0" + TEXT) + PNG[33:],
        PNG[:33] + chunk(b"zTXt", b"workflow\0\0" + TEXT) + PNG[33:],
        PNG[:33] + chunk(b"tEXt", b"a\0b", damage=1) + PNG[33:],
        PNG[:33] + chunk(b"iCCP", b"x\0\0" + TEXT, damage=1) + PNG[33:],
        PNG[:33] + chunk(b"iCCP", b"x\0\7nothing") + PNG[33:],
        PNG[:33] + chunk(b"acTL", b"") + PNG[33:],
        PNG[:33] + chunk(b"eXIf", b"\xff" * 9) + PNG[33:],
        PNG[:33] + chunk(b"gAMA", b"") + chunk(b"cHRM", b"1") + chunk(b"pHYs", b"") + PNG[33:],
        PNG[:-12],
        PNG + MP4,
        WEBP + MP4,
        riff(WEBP, (b"XMP ", b"<x/>"), (b"what", b"123"))[:-2],
        GIF + MP4,
        GIF[:-1],
    ],
)
@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_what_is_not_the_image_refuses_no_sound_one(data):
    assert_ramp(pixels(data), tolerance=5)


@pytest.mark.parametrize("image_format", ["HEIF", "AVIF"])
def test_metadata_and_trailers_refuse_no_sound_heic_or_avif(image_format):
    data = file_of(ramp("RGB"), image_format, exif=Image.Exif().tobytes(), xmp=b"<x" * 50)
    assert b"cdsc" in data
    broken = data.replace(b"MM\0*", b"\xff\xff\xff\xff")
    assert_ramp(pixels(broken + MP4), tolerance=5)


@pytest.mark.parametrize(("major", "second"), [(b"mif1", b"heic"), (b"MiHE", b"heic"), (b"mif1", b"avif")])
def test_the_brands_of_a_file_tell_heic_from_avif(major, second):
    head = struct.pack(">I", 24) + b"ftyp" + major + bytes(4) + b"miaf" + second
    assert find_format(head) is (Format.AVIF if second == b"avif" else Format.HEIC)


# Truncated files


def noise(width: int = 96, height: int = 80) -> Image.Image:
    return Image.fromarray(np.random.default_rng(5).integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize("cut", [1, 2, 20])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}])
def test_a_jpeg_that_lacks_its_end_but_no_row_is_taken(cut, options):
    data = file_of(noise(), "JPEG", **options)
    whole, got = pixels(data), pixels(data[:-cut])
    assert np.array_equal(got[:62], whole[:62]) or "progressive" in options
    assert np.abs(got - whole).mean() < 5


@pytest.mark.parametrize(
    ("share", "options"), [(0.3, {}), (0.8, {}), (0.3, {"progressive": True}), (0.6, {"progressive": True})]
)
def test_a_jpeg_that_lacks_rows_is_refused(share, options):
    data = file_of(noise(), "JPEG", **options)
    with pytest.raises(InvalidRequest, match="a damaged JPEG file"):
        read_image(data[: int(len(data) * share)], LIMITS)


@pytest.mark.parametrize("image_format", ["PNG", "WEBP", "HEIF", "AVIF"])
def test_other_files_that_lack_a_part_of_the_image_are_refused(image_format):
    data = file_of(noise(), image_format)
    with pytest.raises(InvalidRequest, match="a damaged"):
        read_image(data[: int(len(data) * 0.8)], LIMITS)


# Limits


@pytest.mark.parametrize(
    "data",
    [
        PNG[:33] + chunk(b"teXt", b"") * (MAX_PARTS + 1) + PNG[33:],
        JPEG[:2] + b"\xff\xe3\0\2" * (MAX_PARTS + 1) + JPEG[2:],
        WEBP[:12] + b"what\0\0\0\0" * (MAX_PARTS + 1) + WEBP[12:],
        GIF[:GIF_COLORS_END] + b"\x21\xfe\x01a\0" * (MAX_PARTS + 1) + GIF[GIF_COLORS_END:],
    ],
    ids=["png", "jpeg", "webp", "gif"],
)
def test_a_file_of_too_many_parts_is_refused_with_the_bound(data):
    with pytest.raises(InvalidRequest, match=f"at most {MAX_PARTS}"):
        read_image(data, LIMITS)


def test_a_jpeg_of_too_many_scans_is_refused_with_the_bound():
    scan = JPEG[JPEG.index(b"\xff\xda") : -2]
    with pytest.raises(InvalidRequest, match="at most 100 scans"):
        read_image(JPEG[:-2] + scan * 101 + JPEG[-2:], LIMITS)


@pytest.mark.parametrize(
    ("image_format", "name"), [("WEBP", "WebP"), ("PNG", "PNG"), ("HEIF", "HEIC"), ("AVIF", "AVIF")]
)
def test_what_costs_too_much_to_decode_is_refused_with_the_bound_of_its_format(image_format, name):
    side = 1500
    with pytest.raises(InvalidRequest, match=f"a {name} file of at most"):
        read_image(file_of(Image.new("RGB", (side, side)), image_format), RequestLimits(max_decode_bytes=2**24))


@pytest.mark.parametrize(("width", "height"), [(12_000, 9_000), (16_320, 12_240)])
def test_a_photo_of_108_or_200_megapixels_is_taken(width, height):
    data = file_of(Image.new("L", (width, height), 90), "JPEG")
    got = read_image(data, LIMITS)
    assert got.width * height == got.height * width
    assert got.getpixel((5, 5)) == (90, 90, 90)


def test_a_progressive_photo_holds_all_coefficients_and_has_a_lower_bound():
    data = file_of(Image.new("RGB", (3000, 3000)), "JPEG", progressive=True, subsampling=0)
    with pytest.raises(InvalidRequest, match="a progressive JPEG of this shape of at most"):
        read_image(data, RequestLimits(max_decode_bytes=60_000_000))
    plain = file_of(Image.new("RGB", (3000, 3000)), "JPEG", subsampling=0)
    assert read_image(plain, RequestLimits(max_decode_bytes=90_000_000)).size == (3000, 3000)


def test_a_decoder_that_takes_too_long_is_ended(monkeypatch):
    monkeypatch.setattr(child_process, "MAX_DECODE_S", 0.05)
    with pytest.raises(InvalidRequest, match=r"within 0\.05 seconds"):
        read_image(file_of(ramp("RGB"), "HEIF"), LIMITS)


def test_the_process_that_decodes_has_nothing_of_the_environment(monkeypatch):
    monkeypatch.setenv("LTX2_API_KEYS", "a secret")
    seen: list[dict[str, str]] = []
    run = subprocess.run
    monkeypatch.setattr(subprocess, "run", lambda *args, **more: seen.append(more["env"]) or run(*args, **more))
    read_image(file_of(ramp("RGB"), "AVIF"), LIMITS)
    assert set(seen[0]) == {"PYTHONPATH", "MALLOC_ARENA_MAX", "PYTHONDONTWRITEBYTECODE", "PARENT_PID"}


def test_a_still_of_an_animation_is_all_that_is_decoded():
    frames = [ramp("RGB").rotate(angle) for angle in (0, 90, 180)]
    data = file_of(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    assert webp.trim(data).data.count(b"ANMF") == 1
    moving = file_of(frames[0], "GIF", save_all=True, append_images=frames[1:], comment=b"x" * 3000)
    assert len(gif.trim(moving).data) < len(moving) - 3000
