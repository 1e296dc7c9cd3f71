"""What a video shows, asked of the demo model: prompts, guidance, images, audio and edits act as they should.

Each figure beside a threshold was measured with the weights in models/checkpoint/demo and the seeds here.
"""

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from models.clip import Clip
from models.conditions import NO_CONDITIONS, AudioCondition, ClipCondition, Conditions, ImageCondition, first_frame
from models.ltx2.model import Ltx2Model
from models.names import DEMO
from models.request.edits import RetakeMode, extend, retake
from models.request.places import LAST, Place
from models.request.request import VideoRequest
from models.waveform import Waveform
from models.yuv import rgb_to_planes, to_rgb
from tests.models.conftest import ignore
from training.analyser import Seen, analyze, find_center
from training.prompts import describe
from training.world import COLORS, FRAME_RATE, Motion, Scene, Shape, Size, Tone, render_frames

SIZE = Size(256, 384, 25)
FPS = Fraction(FRAME_RATE)
SCENES = (
    Scene(Shape.CIRCLE, "red", "blue", Motion.LEFT, Tone.LOW),
    Scene(Shape.SQUARE, "white", "green", Motion.UP, Tone.HIGH),
    Scene(Shape.TRIANGLE, "yellow", "black", Motion.RIGHT, Tone.SILENCE),
)
RED_CIRCLE = SCENES[0]


class Draw(Protocol):
    """Renders a scene's prompt."""

    def __call__(self, scene: Scene, conditions: Conditions = ..., **fields: object) -> Clip: ...


@pytest.fixture(scope="module")
def draw(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Draw]:
    model = Ltx2Model.load(DEMO, "cpu", tmp_path_factory.mktemp("cache"), ignore)
    model.profile = replace(model.profile, tiny=False)  # without the label, which hides a part of the scene

    def render(scene: Scene, conditions: Conditions = NO_CONDITIONS, **fields: object) -> Clip:
        shape = {"height": SIZE.height, "width": SIZE.width, "num_frames": SIZE.frames, "frame_rate": FRAME_RATE}
        wanted = {"prompt": describe(scene), **shape, "num_inference_steps": 20, "seed": 5, **fields}
        return model.render(VideoRequest.model_validate(wanted), conditions, ignore)

    yield render
    model.close()


@pytest.fixture(scope="module")
def plain(draw: Draw) -> Clip:
    """The red circle, from its prompt alone."""
    return draw(RED_CIRCLE)


def frames_of(clip: Clip) -> npt.NDArray[np.uint8]:
    return to_rgb(clip.frames) if clip.has_planes else clip.frames


def see(clip: Clip) -> Seen:
    return analyze(frames_of(clip), clip.audio, clip.sample_rate_hz)


@cache
def true_frames(scene: Scene, x: float, y: float = 128.0, count: int = SIZE.frames) -> npt.NDArray[np.uint8]:
    """The frames as the training draws them, with the shape's center at (x, y) in the first."""
    frames = render_frames(scene, Size(SIZE.height, SIZE.width, count), (x, y))
    array: npt.NDArray[np.uint8] = ((frames.permute(1, 2, 3, 0) + 1) * 127.5).round().byte().numpy()
    return array


def psnr_db(one: npt.NDArray[np.uint8], other: npt.NDArray[np.uint8]) -> float:
    error = np.mean((one.astype(float) - other.astype(float)) ** 2)
    return float(10 * np.log10(255**2 / error))


def tone(hz: float, seconds: float = 1.05) -> Waveform:
    time = np.arange(round(24_000 * seconds)) / 24_000
    return Waveform((0.3 * np.sin(2 * np.pi * hz * time)).astype(np.float32)[None].repeat(2, 0), 24_000)


@pytest.mark.parametrize("scene", SCENES, ids=str)
def test_a_prompt_decides_what_is_seen_and_heard(draw, scene):
    seen = see(draw(scene))
    assert (seen.background, seen.color, seen.tone) == (scene.background, scene.color, scene.tone)
    assert (seen.shape, seen.motion) == (scene.shape, scene.motion)


def test_the_same_seed_is_the_same_video_and_another_seed_is_not(draw, plain):
    again, other = draw(RED_CIRCLE), draw(RED_CIRCLE, seed=6)
    assert np.array_equal(again.frames, plain.frames)
    assert np.array_equal(again.audio, plain.audio)
    assert not np.array_equal(other.frames, plain.frames)


def test_fast_draws_the_same_scene(draw, plain):
    fast = draw(RED_CIRCLE, quality="fast")
    assert see(fast) == replace(see(plain), overlap=see(fast).overlap)
    print("fast", psnr_db(fast.frames, plain.frames), psnr_db(draw(RED_CIRCLE, seed=6).frames, plain.frames))


def test_a_first_image_is_the_first_frame_and_the_shape_goes_on_from_it(draw):
    image = true_frames(RED_CIRCLE, 256.0)[0]
    clip = draw(RED_CIRCLE, first_frame(Image.fromarray(image)))
    print("first", psnr_db(clip.frames[0], image), [find_center(clip.frames[i]) for i in (0, 12, 24)], see(clip))


def test_a_last_image_is_the_last_frame(draw):
    image = true_frames(RED_CIRCLE, 256.0)[-1]
    clip = draw(RED_CIRCLE, Conditions((ImageCondition(Image.fromarray(image), Place(LAST, 1.0)),)))
    print("last", psnr_db(clip.frames[-1], image), [find_center(clip.frames[i]) for i in (0, 12, 24)], see(clip))


def test_a_shape_moves_from_the_first_image_to_the_last(draw):
    frames = true_frames(RED_CIRCLE, 256.0)
    given = [ImageCondition(Image.fromarray(frames[i]), Place(place, 1.0)) for i, place in ((0, 0), (-1, LAST))]
    clip = draw(RED_CIRCLE, Conditions(tuple(given)))
    print("path", [find_center(clip.frames[i]) for i in (0, 6, 12, 18, 24)], psnr_db(clip.frames[-1], frames[-1]))


def test_an_extended_video_goes_on_moving_the_same_way(draw):
    source = true_frames(RED_CIRCLE, 288.0)
    edit, total = extend(len(source), FPS, 1.0)
    clip = draw(RED_CIRCLE, Conditions(clip=ClipCondition(rgb_to_planes(source), tone(220), edit)), num_frames=total)
    frames = frames_of(clip)
    print("extend", total, [find_center(frames[i]) for i in (0, 12, 24, 36, 48)], psnr_db(frames[:12], source[:12]))


def test_a_retake_changes_its_window_alone(draw):
    source = true_frames(RED_CIRCLE, 288.0, count=49)
    edit = retake(len(source), FPS, 1.0, 0.5, mode=RetakeMode.VIDEO)
    clip = draw(
        replace(RED_CIRCLE, color="yellow"),
        Conditions(clip=ClipCondition(rgb_to_planes(source), tone(220, 2.05), edit)),
        num_frames=49,
    )
    frames = frames_of(clip)
    print("retake", psnr_db(frames[:20], source[:20]), psnr_db(frames[40:], source[40:]), see(clip))
    print(frames[30, 128, 192:300:8].tolist())


def test_given_audio_is_kept_and_an_image_alone_gets_the_tone_of_its_prompt(draw):
    given = tone(880)
    clip = draw(RED_CIRCLE, Conditions(audio=AudioCondition(given)))
    print("audio", see(clip))
    silent = replace(RED_CIRCLE, tone=Tone.HIGH)
    print("image", see(draw(silent, first_frame(Image.fromarray(true_frames(RED_CIRCLE, 256.0)[0])))))


def test_without_guidance_the_prompt_acts_less(draw):
    def error(**fields: object) -> list:
        found = []
        for scene in SCENES:
            clip = draw(scene, **fields)
            truth = np.array(COLORS[scene.color], float)
            frame = clip.frames[12].astype(float)
            distance = np.sqrt(((frame - truth) ** 2).sum(-1))
            found.append((float((distance < 40).mean()), see(clip).overlap))
        return found

    print("guided", error(), "unguided", error(cfg_scale_video=1.0, stg_scale_video=0.0, modality_scale=1.0))


@pytest.mark.parametrize(("height", "width"), [(384, 256), (256, 256)])
def test_portrait_and_square(draw, height, width):
    print(height, width, see(draw(RED_CIRCLE, height=height, width=width)))


def test_eight_steps(draw):
    print("eight", see(draw(RED_CIRCLE, num_inference_steps=8)))


def unused(path: Path) -> None: ...
