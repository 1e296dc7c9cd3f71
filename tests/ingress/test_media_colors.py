"""Colors of given videos: HDR and BT.2020 become BT.709, and each matrix and range is read as it is meant."""

import io
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc

from deployments.ingress.media.colors import map_colors
from tests.ingress.media import decode_frames
from tests.ingress.test_media_formats import read_clip

Colors = npt.NDArray[np.float64]
PATCH, COLUMNS = 64, 4
LIGHTS = np.array(
    [
        (0.02, 0.02, 0.02),
        (0.25, 0.25, 0.25),
        (0.40, 0.40, 0.40),
        (0.30, 0.05, 0.03),
        (0.04, 0.25, 0.05),
        (0.03, 0.05, 0.40),
        (0.35, 0.20, 0.14),  # skin
        (0.05, 0.22, 0.30),
    ]
)
"""Light of patches in BT.709, where 1 is 203 cd/m²: none is so bright that it is compressed."""
SHOWN = LIGHTS ** (1 / 2.4)
"""The same, coded for a display of BT.1886."""
TO_2020 = np.array(((0.6274, 0.3293, 0.0433), (0.0691, 0.9195, 0.0114), (0.0164, 0.0880, 0.8956)))
"""ITU-R BT.2087."""
BT709, BT601, BT2020 = (0.2126, 0.0722), (0.299, 0.114), (0.2627, 0.0593)
"""The weights of red and blue in luma."""
TOLERANCE = 3 / 255
"""8 bits of limited range, and the loss of the encoders: 2.6 was measured."""


@dataclass(frozen=True)
class Tags:
    """How a file is made and marked: it has the matrix with these `weights`, and names `matrix`."""

    weights: tuple[float, float] = BT709
    matrix: int = Colorspace.ITU709
    primaries: int = ColorPrimaries.BT709
    curve: int = ColorTrc.BT709
    full_range: bool = False


HLG = Tags(BT2020, Colorspace.BT2020, ColorPrimaries.BT2020, ColorTrc.ARIB_STD_B67)
PQ = Tags(BT2020, Colorspace.BT2020, ColorPrimaries.BT2020, ColorTrc.SMPTE2084)


def code_pq(light: Colors) -> Colors:
    power = (light * 203 / 10_000) ** 0.1593017578125
    return np.asarray(((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375)


def code_hlg(light: Colors) -> Colors:
    """For a display of 1000 cd/m²."""
    shown = light * 203 / 1000
    scene = shown * (shown @ (0.2627, 0.678, 0.0593))[:, None] ** (-0.2 / 1.2)
    bright = 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073
    return np.where(scene <= 1 / 12, np.sqrt(3 * scene), bright)


OPTIONS = {
    "libx264": {"preset": "ultrafast", "qp": "4"},
    "libx265": {"preset": "ultrafast", "crf": "4", "x265-params": "log-level=0"},
}
CODES = {ColorTrc.SMPTE2084: code_pq, ColorTrc.ARIB_STD_B67: code_hlg}


def planes_of(colors: Colors, tags: Tags, bits: int) -> npt.NDArray[np.uint16]:
    """Patches of coded colors as planes of yuv420p."""
    red, blue = tags.weights
    luma = colors @ (red, 1 - red - blue, blue)
    chroma = (colors[:, 2] - luma) / (2 - 2 * blue), (colors[:, 0] - luma) / (2 - 2 * red)
    ranges = (0, 2**bits - 1, 2**bits - 1) if tags.full_range else (16 << bits - 8, 219 << bits - 8, 224 << bits - 8)
    values = [ranges[0] + luma * ranges[1], *(2 ** (bits - 1) + each * ranges[2] for each in chroma)]
    sides = (PATCH, PATCH // 2, PATCH // 2)
    planes = [
        np.kron(np.round(each).reshape(-1, COLUMNS), np.ones((side, side)))
        for each, side in zip(values, sides, strict=True)
    ]
    width = PATCH * COLUMNS
    return np.concatenate([each.reshape(-1, width) for each in planes]).clip(0, 2**bits - 1).astype(np.uint16)


def colored_file(colors: Colors, tags: Tags, codec: str = "libx264", kind: str = "mp4", bits: int = 8) -> bytes:
    """A video of five frames with patches of coded colors."""
    planes = planes_of(colors, tags, bits)
    format_ = "yuv420p" if bits == 8 else "yuv420p10le"
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=kind) as container:
        stream = container.add_stream(codec, 25, options=OPTIONS.get(codec, {}))
        stream.width, stream.height = planes.shape[1], planes.shape[0] * 2 // 3
        stream.pix_fmt = "yuv422p10le" if codec == "prores_ks" else format_
        context = stream.codec_context
        context.colorspace, context.color_primaries, context.color_trc = tags.matrix, tags.primaries, tags.curve
        context.color_range = ColorRange.JPEG if tags.full_range else ColorRange.MPEG
        for number in range(5):
            frame = av.VideoFrame.from_ndarray(planes if bits > 8 else planes.astype(np.uint8), format_)
            frame.color_range, frame.colorspace = context.color_range, tags.matrix
            frame.color_primaries, frame.color_trc = tags.primaries, tags.curve
            frame.pts, frame.time_base = number, Fraction(1, 25)
            if codec == "prores_ks":
                frame = frame.reformat(format="yuv422p10le")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return buffer.getvalue()


def shown_colors(clip: bytes) -> Colors:
    """The colors of the patches, decoded as BT.709 of limited range."""
    planes = decode_frames(clip)[0].astype(float)
    height = planes.shape[0] * 2 // 3
    luma = planes[:height][PATCH // 2 :: PATCH, PATCH // 2 :: PATCH].ravel() - 16
    chroma = planes[height:].reshape(2, height // 2, -1)[:, PATCH // 4 :: PATCH // 2, PATCH // 4 :: PATCH // 2]
    blue, red = chroma.reshape(2, -1) - 128
    green = luma / 219 - 0.1873 * blue / 224 - 0.4681 * red / 224
    return np.stack((luma / 219 + 1.5748 * red / 224, green, luma / 219 + 1.8556 * blue / 224), axis=1)


@pytest.mark.parametrize("tags", [HLG, PQ], ids=["HLG", "PQ"])
@pytest.mark.parametrize(
    ("codec", "kind"),
    [("libx265", "mp4"), ("libx264", "matroska"), ("prores_ks", "mov")],
    ids=["HEVC", "H.264", "ProRes"],
)
def test_hdr_has_the_colors_that_it_shows(tmp_path: Path, tags: Tags, codec: str, kind: str) -> None:
    coded = CODES[ColorTrc(tags.curve)](LIGHTS @ TO_2020.T)
    facts, clip = read_clip(tmp_path, colored_file(coded, tags, codec, kind, bits=10))
    assert facts.is_hdr
    assert shown_colors(clip) == pytest.approx(SHOWN, abs=TOLERANCE)


def test_white_paper_stays_bright_and_highlights_stay_apart(tmp_path: Path) -> None:
    """75 % of HLG and 58 % of PQ are both 203 cd/m² (ITU-R BT.2408), and brighter than most of a scene."""
    grays = np.repeat([[0.75], [0.8], [0.85], [0.9], [0.95], [1.0], [0.5], [0.0]], 3, axis=1)
    _, clip = read_clip(tmp_path, colored_file(grays, HLG, "libx265", bits=10))
    shown = shown_colors(clip)[:, 1]
    assert shown[0] == pytest.approx(map_colors(np.full(3, 0.58), ColorTrc.SMPTE2084, 9)[1], abs=TOLERANCE)
    assert 0.88 < shown[0] < 0.92
    assert np.all(np.diff(shown[:4]) > 0.01)
    assert shown[5] == pytest.approx(1, abs=TOLERANCE)
    assert shown[7] == pytest.approx(0, abs=TOLERANCE)


def test_colors_beyond_bt_709_keep_their_hue_and_luminance() -> None:
    green = map_colors(np.array((0.1, 0.6, 0.1)), ColorTrc.ARIB_STD_B67, ColorPrimaries.BT2020)
    assert green[1] > 0.5
    assert green.min() >= 0
    grays = map_colors(np.repeat(np.linspace(0, 1, 256)[:, None], 3, axis=1), ColorTrc.SMPTE2084, 9)
    assert np.ptp(grays, axis=1).max() < 1e-3
    assert np.all(np.diff(grays[:, 0]) >= 0)


SDR = {
    "BT.709": Tags(),
    "BT.601": Tags(BT601, Colorspace.ITU601, ColorPrimaries.SMPTE170M, ColorTrc.SMPTE170M),
    "full range": Tags(full_range=True),
    "BT.601 of full range": Tags(BT601, Colorspace.ITU601, full_range=True),
    "no matrix, small": Tags(BT601, 2, ColorPrimaries.UNSPECIFIED, ColorTrc.UNSPECIFIED),
    "the matrix of BT.2020": Tags(BT2020, Colorspace.BT2020),
}


@pytest.mark.parametrize("name", SDR)
def test_each_matrix_and_range_of_sdr_shows_the_same_colors(tmp_path: Path, name: str) -> None:
    facts, clip = read_clip(tmp_path, colored_file(SHOWN, SDR[name]))
    assert not facts.is_hdr
    assert shown_colors(clip) == pytest.approx(SHOWN, abs=TOLERANCE)


def test_bt_2020_without_hdr_shows_the_same_colors(tmp_path: Path) -> None:
    tags = Tags(BT2020, Colorspace.BT2020, ColorPrimaries.BT2020, ColorTrc.BT2020_10)
    coded = (LIGHTS @ TO_2020.T) ** (1 / 2.4)
    facts, clip = read_clip(tmp_path, colored_file(coded, tags, "libx265", bits=10))
    assert not facts.is_hdr
    assert shown_colors(clip) == pytest.approx(SHOWN, abs=TOLERANCE)
