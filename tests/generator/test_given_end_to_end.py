"""From the input file of a task to its MP4: what the client gave is in it, to the encoder's loss."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from deployments.encoder.mp4 import write_mp4
from deployments.generator.given_media import read_clip
from deployments.generator.request_prep import load_conditions
from models.ltx2.model import Ltx2Model
from models.request.edits import Edit
from models.request.request import VideoRequest
from models.waveform import Waveform
from storage.inputs import InputAudio, InputSource, TaskInputs, pack_inputs
from storage.outputs.local import LocalOutputStore
from tests.generator.test_given_media import write
from tests.generator.test_request_prep import FROM_IMAGE, KEY

FRAMES, HEIGHT, WIDTH = 25, 64, 128
RATE_HZ = 44_100
REQUEST = VideoRequest(
    prompt="a cat", height=HEIGHT, width=WIDTH, num_frames=FRAMES, frame_rate=25.0, num_inference_steps=2
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ltx2Model]:
    model = Ltx2Model.load("tiny", "cpu", tmp_path_factory.mktemp("cache"), lambda _progress: None)
    yield model
    model.close()


def made(
    model: Ltx2Model, inputs: TaskInputs, folder: Path, request: VideoRequest
) -> tuple[np.ndarray, Waveform | None]:
    """The frames, as planes, and the audio of the MP4 of a task with these inputs."""
    outputs = LocalOutputStore(folder)
    outputs.put(KEY, pack_inputs(inputs))
    conditions = load_conditions(replace(FROM_IMAGE, request=request), outputs)
    clip = model.render(request, conditions, lambda _progress: None)
    write_mp4(clip, folder / "video.mp4", max_bytes=None, metadata={})
    return read_clip((folder / "video.mp4").read_bytes())


def moving_square() -> np.ndarray:
    """A bright square that moves over gray, as planes."""
    planes = np.full((FRAMES, HEIGHT * 3 // 2, WIDTH), 128, np.uint8)
    for number, frame in enumerate(planes):
        frame[16:48, 2 * number : 2 * number + 32] = 220
    return planes


def chord() -> np.ndarray:
    """A second of two tones in 16 bits, other ones in each channel."""
    seconds = np.arange(RATE_HZ) / RATE_HZ
    tones = [np.sin(2 * np.pi * hertz * seconds) for hertz in (440, 660)]
    return (np.stack(tones) * 2**14).astype(np.int16)


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    error = np.square(one.astype(float) - other.astype(float)).mean()
    return float(10 * np.log10(255**2 / max(error, 1e-9)))


def likeness(found: Waveform | None, given: np.ndarray) -> float:
    """The correlation of audio at 48 kHz with what was given, apart from the delay of the codec."""
    assert found is not None
    expected = Waveform(given.astype(np.float32) / 2**15, RATE_HZ).resampled(found.sample_rate_hz).samples[0]
    heard = found.samples[0]
    count = min(len(heard), len(expected)) // 2
    return max(float(np.corrcoef(heard[shift : shift + count], expected[:count])[0, 1]) for shift in range(2200))


def test_given_audio_is_heard(model: Ltx2Model, tmp_path: Path) -> None:
    _, audio = made(model, TaskInputs(audio=InputAudio(write("flac", chord()))), tmp_path, REQUEST)
    assert likeness(audio, chord()) > 0.99


def test_a_retake_changes_its_window_only(model: Ltx2Model, tmp_path: Path) -> None:
    source = InputSource(write("matroska", chord(), moving_square()), Edit(8, 16))
    frames, audio = made(model, TaskInputs(source=source), tmp_path, REQUEST)
    outside = [*range(8), *range(16, FRAMES)]
    assert frames.shape == moving_square().shape
    assert psnr(frames[outside], moving_square()[outside]) > 35
    assert psnr(frames[10:14], moving_square()[10:14]) < 20
    assert likeness(audio, chord()[:, : RATE_HZ * 8 // 25]) > 0.99


def test_a_chain_of_extends_keeps_its_first_second(model: Ltx2Model, tmp_path: Path) -> None:
    """Each one starts from the MP4 of the one before it."""
    planes, audio = moving_square(), chord()
    for _ in range(10):
        total = len(planes) + 4
        source = InputSource(write("matroska", audio, planes), Edit(len(planes), total, context=8))
        frames, heard = made(
            model, TaskInputs(source=source), tmp_path, REQUEST.model_copy(update={"num_frames": total})
        )
        assert heard is not None
        planes, audio = frames, (heard.resampled(RATE_HZ).samples.clip(-1, 1) * (2**15 - 1)).astype(np.int16)
    assert len(planes) == FRAMES + 40
    assert psnr(planes[:FRAMES], moving_square()) > 30
