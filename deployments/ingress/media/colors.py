"""Maps the colors of HDR and of BT.2020 to BT.709, with a table that FFmpeg's filter lut3d applies to each frame.

White of SDR is the 203 cd/m² that ITU-R BT.2408 gives to diffuse white in HDR. Light is in units of it.
"""

from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt
from av.filter import Graph
from av.video.format import VideoFormat
from av.video.frame import VideoFrame
from av.video.reformatter import ColorPrimaries, ColorTrc

Colors = npt.NDArray[np.float64]
"""Red, green and blue in the last dimension."""
HDR_CURVES = (ColorTrc.SMPTE2084, ColorTrc.ARIB_STD_B67)
RGB = "gbrp16le"
WHITE_CD_M2 = 203
PEAK_CD_M2 = 1000
"""The brightest light that stays below white: what HLG is made for, and what phones write with PQ."""
HLG_SYSTEM_GAMMA = 1.2
"""The value of ITU-R BT.2100 for a display of PEAK_CD_M2."""
DISPLAY_GAMMA = 2.4
"""ITU-R BT.1886."""
LUMINANCE_2020 = np.array((0.2627, 0.6780, 0.0593))
LUMINANCE_709 = np.array((0.2126, 0.7152, 0.0722))
TO_709 = np.array(((1.6605, -0.5876, -0.0728), (-0.1246, 1.1329, -0.0083), (-0.0182, -0.1006, 1.1187)))
"""Light of BT.2020 as light of BT.709: ITU-R BT.2407."""
POINTS = 65
"""The table's points for each color. Between them, lut3d interpolates."""
TABLE = "colors.cube"


class ColorMap:
    """Maps frames of one size, RGB in the format `RGB`, from the curve and the primaries of a file to BT.709."""

    def __init__(self, curve: int, primaries: int, width: int, height: int, folder: Path) -> None:
        table = folder / TABLE
        write_table(table, curve, primaries)
        self._graph = Graph()
        source = self._graph.add_buffer(
            width=width, height=height, format=VideoFormat(RGB), time_base=Fraction(1, 1000)
        )
        nodes = source, self._graph.add("lut3d", file=str(table)), self._graph.add("buffersink")
        self._graph.link_nodes(*nodes).configure()

    def map(self, frame: VideoFrame) -> VideoFrame:
        """The frame in BT.709."""
        self._graph.vpush(frame)
        return self._graph.vpull()


def is_mapped(frame: VideoFrame) -> bool:
    """Whether frames like this one are HDR or have the primaries of BT.2020."""
    return frame.color_trc in HDR_CURVES or frame.color_primaries == ColorPrimaries.BT2020


def write_table(path: Path, curve: int, primaries: int) -> None:
    """Write the table in the format of .cube files: red changes fastest."""
    axis = np.linspace(0, 1, POINTS)
    blue, green, red = np.meshgrid(axis, axis, axis, indexing="ij")
    mapped = map_colors(np.stack((red, green, blue), axis=-1), curve, primaries).reshape(-1, 3)
    lines = "\n".join(map("%.6f %.6f %.6f".__mod__, map(tuple, mapped)))
    path.write_text(f"LUT_3D_SIZE {POINTS}\n{lines}\n")


def map_colors(coded: Colors, curve: int, primaries: int) -> Colors:
    """Colors of a file, in [0, 1] as its curve codes them, as BT.709 codes them."""
    light = decode_light(coded, curve)
    if curve in HDR_CURVES:
        brightest = np.maximum(light.max(axis=-1, keepdims=True), 1e-6)
        light = light * (compress(brightest) / brightest)
    if primaries in (ColorPrimaries.BT2020, ColorPrimaries.UNSPECIFIED):
        light = _within_gamut(light @ TO_709.T)
    return np.asarray(np.clip(light, 0, 1) ** (1 / DISPLAY_GAMMA))


def decode_light(coded: Colors, curve: int) -> Colors:
    """The light of a display, where 1 is white of SDR."""
    match curve:
        case ColorTrc.SMPTE2084:
            return decode_pq(coded) / WHITE_CD_M2
        case ColorTrc.ARIB_STD_B67:
            scene = decode_hlg(coded)
            luminance = scene @ LUMINANCE_2020
            gain = luminance[..., None] ** (HLG_SYSTEM_GAMMA - 1) * (PEAK_CD_M2 / WHITE_CD_M2)
            return np.asarray(scene * gain)
        case _:
            return coded**DISPLAY_GAMMA


def compress(light: Colors) -> Colors:
    """Light up to the peak as light up to white, by the curve of ITU-R BT.2390, section 5.4.1. Darker light stays."""
    peak, white = encode_pq(np.array((PEAK_CD_M2, WHITE_CD_M2)))
    top = white / peak
    knee = 1.5 * top - 0.5
    coded = np.minimum(encode_pq(light * WHITE_CD_M2) / peak, 1)
    t = np.maximum((coded - knee) / (1 - knee), 0)
    spline = (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee) + (3 * t**2 - 2 * t**3) * top
    return decode_pq(np.where(coded < knee, coded, spline) * peak) / WHITE_CD_M2


M1, M2, C1, C2, C3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
"""The constants of PQ: SMPTE ST 2084."""
HLG_A, HLG_B, HLG_C, HLG_KNEE = 0.17883277, 0.28466892, 0.55991073, 0.5
"""The constants of HLG: ITU-R BT.2100."""


def decode_pq(coded: Colors) -> Colors:
    """Light in cd/m²."""
    power = coded ** (1 / M2)
    return np.asarray(10_000 * (np.maximum(power - C1, 0) / (C2 - C3 * power)) ** (1 / M1))


def encode_pq(light_cd_m2: Colors) -> Colors:
    """The inverse of `decode_pq`."""
    power = (light_cd_m2 / 10_000) ** M1
    return np.asarray(((C1 + C2 * power) / (1 + C3 * power)) ** M2)


def decode_hlg(coded: Colors) -> Colors:
    """Light of the scene, in [0, 1]."""
    return np.where(coded <= HLG_KNEE, coded**2 / 3, (np.exp((coded - HLG_C) / HLG_A) + HLG_B) / 12)


def _within_gamut(light: Colors) -> Colors:
    """The same luminance and hue, with only so much saturation as BT.709 has."""
    gray = np.clip((light @ LUMINANCE_709)[..., None], 0, 1)
    away = light - gray
    with np.errstate(divide="ignore", invalid="ignore"):
        room = np.where(away > 0, (1 - gray) / away, np.where(away < 0, -gray / away, 1))
    return np.asarray(gray + away * np.clip(room.min(axis=-1, keepdims=True), 0, 1))
