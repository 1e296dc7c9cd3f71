"""What the Ingress has written, lossless, is what the Generator reads."""

import io
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from deployments.generator.given_media import read_audio, read_clip
from deployments.generator.request_prep import load_conditions
from models.errors import RenderFailed
from models.request.edits import Edit
from models.request.enums import Upscale
from storage.inputs import InputAudio, InputControl, InputSource, TaskInputs, pack_inputs
from storage.outputs.local import LocalOutputStore
from tests.generator.test_request_prep import FROM_IMAGE, KEY

RATE_HZ = 44_100


def samples(channels: int, count: int = 30_000) -> np.ndarray:
    return np.random.default_rng(3).integers(-(2**15), 2**15, (channels, count), dtype=np.int16)


def planes(count: int = 10, height: int = 512, width: int = 768) -> np.ndarray:
    return np.random.default_rng(4).integers(16, 236, (count, height * 3 // 2, width), dtype=np.uint8)


def write(container_format: str, audio: np.ndarray | None, frames: np.ndarray | None = None) -> bytes:
    """A file with 16-bit FLAC or WAV, and lossless H.264."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container_format) as container:
        if frames is not None:
            video = container.add_stream("libx264", rate=25, options={"qp": "0", "preset": "ultrafast"})
            video.height, video.width, video.pix_fmt = frames.shape[1] * 2 // 3, frames.shape[2], "yuv420p"
        if audio is not None:
            codec = "pcm_s16le" if container_format == "wav" else "flac"
            heard = container.add_stream(codec, rate=RATE_HZ)
            heard.layout = "mono" if len(audio) == 1 else "stereo"
        for number, each in enumerate(frames if frames is not None else ()):
            frame = av.VideoFrame.from_ndarray(each, format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(video.encode(frame))
        if frames is not None:
            container.mux(video.encode(None))
        if audio is not None:
            interleaved = np.ascontiguousarray(audio.T.reshape(1, -1))
            sound = av.AudioFrame.from_ndarray(interleaved, format="s16", layout=heard.layout.name)
            sound.sample_rate, sound.pts, sound.time_base = RATE_HZ, 0, Fraction(1, RATE_HZ)
            container.mux(heard.encode(sound))
            container.mux(heard.encode(None))
    return buffer.getvalue()


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("container_format", ["wav", "flac"])
def test_audio_comes_back_sample_for_sample(container_format: str, channels: int) -> None:
    wave = read_audio(write(container_format, samples(channels)))
    assert wave.sample_rate_hz == RATE_HZ
    assert np.array_equal(wave.samples, samples(channels).astype(np.float32) / 2**15)


def test_float_samples_come_back_as_they_are() -> None:
    floats = np.random.default_rng(5).uniform(-1, 1, (1, 5000)).astype(np.float32)
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="wav") as container:
        stream = container.add_stream("pcm_f32le", rate=RATE_HZ)
        stream.layout = "mono"
        frame = av.AudioFrame.from_ndarray(floats, format="flt", layout="mono")
        frame.sample_rate = RATE_HZ
        container.mux([*stream.encode(frame), *stream.encode(None)])
    assert np.array_equal(read_audio(buffer.getvalue()).samples, floats)


@pytest.mark.parametrize("channels", [None, 1, 2])
def test_a_clip_comes_back_plane_for_plane(channels: int | None) -> None:
    audio = None if channels is None else samples(channels)
    frames, heard = read_clip(write("matroska", audio, planes()))
    assert np.array_equal(frames, planes())
    if audio is None:
        assert heard is None
    else:
        assert heard is not None
        assert np.array_equal(heard.samples, audio.astype(np.float32) / 2**15)


def test_they_are_a_task_s_conditions(tmp_path: Path) -> None:
    outputs, edit = LocalOutputStore(tmp_path), Edit(2, 5)
    clip = InputSource(write("matroska", None, planes()), edit)
    outputs.put(KEY, pack_inputs(TaskInputs((), InputAudio(write("flac", samples(2)), 0.5), clip)))
    conditions = load_conditions(FROM_IMAGE, outputs)
    assert conditions.audio is not None
    assert conditions.audio.strength == 0.5
    assert conditions.clip is not None
    assert conditions.clip.edit == edit
    assert conditions.clip.audio is None
    assert np.array_equal(conditions.clip.frames, planes())


def test_a_clip_of_another_size_than_the_video_is_told(tmp_path: Path) -> None:
    outputs = LocalOutputStore(tmp_path)
    outputs.put(KEY, pack_inputs(TaskInputs(source=InputSource(write("matroska", None, planes(2, 64)), Edit(0, 1)))))
    with pytest.raises(RenderFailed, match="the source is 768x64, and the video needs 768x512"):
        load_conditions(FROM_IMAGE, outputs)


def test_a_control_video_has_the_size_that_its_lora_needs(tmp_path: Path) -> None:
    """Half of the video's sides with a factor of 2, and a quarter where only the first of two stages has it."""
    outputs, upscaled = LocalOutputStore(tmp_path), FROM_IMAGE.request.model_copy(update={"upscale": Upscale.TWICE})
    for request, height, width in ((FROM_IMAGE.request, 256, 384), (upscaled, 128, 192)):
        task = replace(FROM_IMAGE, request=request)
        for factor, fits in ((2, True), (1, False)):
            content = write("matroska", None, planes(2, height, width))
            outputs.put(KEY, pack_inputs(TaskInputs(control=InputControl(content, "canny", 0.5, factor))))
            if fits:
                control = load_conditions(task, outputs).control
                assert control is not None
                assert (control.lora, control.strength, control.downscale_factor) == ("canny", 0.5, 2)
                assert np.array_equal(control.frames, planes(2, height, width))
            else:
                with pytest.raises(RenderFailed, match=f"the control video is {width}x{height}, and the video needs"):
                    load_conditions(task, outputs)
