"""What a video shows, asked of the demo model: prompts, guidance, images, audio and edits act as they should.

Each figure beside a threshold was measured with the weights in models/checkpoint/demo and the seeds here.
"""

import itertools
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from functools import cache
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from models.clip import Clip
from models.conditions import NO_CONDITIONS, AudioCondition, ClipCondition, Conditions, ImageCondition, first_frame
from models.names import DEMO
from models.request.edits import RetakeMode, extend, retake
from models.request.places import LAST, Place
from models.waveform import Waveform
from models.yuv import rgb_to_planes, to_rgb
from tests.models.conftest import ignore
from training.analyser import Seen, analyze, find_center
from training.evaluate import open_model, request_for
from training.prompts import describe
from training.world import FRAME_RATE, Motion, Scene, Shape, Size, Tone, render_frames

SIZE = Size(256, 384, 25)
FPS = Fraction(FRAME_RATE)
SCENES = (
    Scene(Shape.CIRCLE, "red", "blue", Motion.LEFT, Tone.LOW),
    Scene(Shape.SQUARE, "white", "green", Motion.UP, Tone.HIGH),
    Scene(Shape.TRIANGLE, "yellow", "black", Motion.RIGHT, Tone.SILENCE),
)
NAMED_IN_THE_NEGATIVE_PROMPT = (
    Scene(Shape.TRIANGLE, "black", "white", Motion.LEFT, Tone.SILENCE),
    Scene(Shape.SQUARE, "orange", "black", Motion.STILL, Tone.SILENCE),
    Scene(Shape.CIRCLE, "black", "orange", Motion.GROW, Tone.BEEPS),
)
"""The default negative prompt has "black" and "silent"."""
RED_CIRCLE = SCENES[0]
YELLOW_CIRCLE = replace(RED_CIRCLE, color="yellow", background="green")


class Draw(Protocol):
    """Renders a scene's prompt."""

    def __call__(self, scene: Scene, conditions: Conditions = ..., **fields: object) -> Clip: ...


@pytest.fixture(scope="module")
def draw(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Draw]:
    model = open_model(DEMO, tmp_path_factory.mktemp("cache"))

    def render(scene: Scene, conditions: Conditions = NO_CONDITIONS, **fields: object) -> Clip:
        request = request_for(describe(scene), SIZE, **{"num_inference_steps": 20, "seed": 5, **fields})
        return model.render(request, conditions, ignore)

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


def centers(clip: Clip, *numbers: int) -> list[float]:
    """How far the shape's center is from the left, in these frames."""
    frames = frames_of(clip)
    return [find_center(frames[number])[0] for number in numbers]


def given(*images: tuple[npt.NDArray[np.uint8], int]) -> Conditions:
    return Conditions(tuple(ImageCondition(Image.fromarray(image), Place(frame, 1.0)) for image, frame in images))


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: f"{scene.color} on {scene.background}")
def test_a_prompt_decides_the_colors(draw, scene):
    seen = see(draw(scene))
    assert (seen.background, seen.color) == (scene.background, scene.color)


@pytest.mark.parametrize("scene", NAMED_IN_THE_NEGATIVE_PROMPT, ids=describe)
def test_the_words_of_the_negative_prompt_act_in_a_prompt(draw, scene):
    """Guidance does not push away from them, or from colors near black."""
    seen = see(draw(scene))
    assert (seen.background, seen.color, seen.tone) == (scene.background, scene.color, scene.tone)


def test_a_prompt_decides_shape_motion_and_tone_too(plain):
    seen = see(plain)
    assert (seen.shape, seen.motion, seen.tone) == (RED_CIRCLE.shape, RED_CIRCLE.motion, RED_CIRCLE.tone)


def test_the_same_seed_is_the_same_video_and_another_seed_is_not(draw, plain):
    again, other = draw(RED_CIRCLE), draw(RED_CIRCLE, seed=6)
    assert np.array_equal(again.frames, plain.frames)
    assert np.array_equal(again.audio, plain.audio)
    assert psnr_db(other.frames, plain.frames) < 35  # 28.2: the world is small


def test_fast_draws_the_same_scene(draw, plain):
    fast = draw(RED_CIRCLE, quality="fast")
    assert replace(see(fast), overlap=0) == replace(see(plain), overlap=0)
    assert psnr_db(fast.frames, plain.frames) > 19  # 29.6


def test_eight_steps_show_the_scene(draw):
    seen = see(draw(RED_CIRCLE, num_inference_steps=8))
    assert (seen.shape, seen.color, seen.background) == (RED_CIRCLE.shape, RED_CIRCLE.color, RED_CIRCLE.background)


def test_a_portrait_has_the_colors_of_its_prompt(draw):
    seen = see(draw(RED_CIRCLE, height=384, width=256))
    assert (seen.color, seen.background) == (RED_CIRCLE.color, RED_CIRCLE.background)


def test_without_guidance_a_prompt_acts_less(draw):
    def contrast(cfg: float) -> float:
        """How much two prompts differ in the middle frame. More steps make up for what few exaggerate."""
        guidance = {"cfg_scale_video": cfg, "stg_scale_video": 0.0, "modality_scale": 1.0, "num_inference_steps": 2}
        one, other = (draw(scene, **guidance).frames[12].astype(float) for scene in (RED_CIRCLE, YELLOW_CIRCLE))
        return float(np.abs(one - other).mean())

    assert contrast(8.0) > 1.1 * contrast(1.0)  # 98.2 and 84.3


def test_a_first_image_is_the_first_frame_and_the_shape_goes_on_from_it(draw):
    image = true_frames(RED_CIRCLE, 256.0)[0]
    clip = draw(RED_CIRCLE, first_frame(Image.fromarray(image)))
    assert psnr_db(clip.frames[0], image) > 25  # 28.1
    first, middle, last = centers(clip, 0, 12, 24)
    assert abs(first - 256) < 8
    assert first - 15 > middle > last + 15  # 255, 226, 195
    assert see(clip).color == RED_CIRCLE.color


def test_a_last_image_is_the_last_frame(draw):
    image = true_frames(RED_CIRCLE, 256.0)[-1]
    clip = draw(RED_CIRCLE, given((image, LAST)))
    assert psnr_db(clip.frames[-1], image) > 21  # 26.3
    assert abs(centers(clip, 24)[0] - 208) < 15  # 205


def test_a_shape_moves_from_the_first_image_to_the_last(draw):
    frames = true_frames(RED_CIRCLE, 256.0)
    clip = draw(RED_CIRCLE, given((frames[0], 0), (frames[-1], LAST)))
    path = centers(clip, 0, 6, 12, 18, 24)  # 255, 241, 229, 217, 204
    assert all(before > after for before, after in itertools.pairwise(path))
    assert np.allclose(path, [256, 244, 232, 220, 208], atol=16)


def test_an_extended_video_goes_on_moving_the_same_way(draw):
    source = true_frames(RED_CIRCLE, 288.0)
    edit, total = extend(len(source), FPS, 1.0)
    clip = draw(RED_CIRCLE, Conditions(clip=ClipCondition(rgb_to_planes(source), tone(220), edit)), num_frames=total)
    assert psnr_db(frames_of(clip)[:12], source[:12]) > 33  # 36.3, the loss of the planes
    end_of_source, new = centers(clip, 12, 36)
    assert new < end_of_source - 40  # 264 and 193


def test_a_retake_changes_its_window_alone(draw):
    source = true_frames(RED_CIRCLE, 288.0, count=49)
    edit = retake(len(source), FPS, 1.0, 0.5, mode=RetakeMode.VIDEO)
    condition = Conditions(clip=ClipCondition(rgb_to_planes(source), tone(220, 2.05), edit))
    yellow = replace(RED_CIRCLE, color="yellow")
    frames = frames_of(draw(yellow, condition, num_frames=49))
    assert psnr_db(frames[:20], source[:20]) > 33  # 36.3
    assert psnr_db(frames[40:], source[40:]) > 33  # 36.3
    assert analyze(frames[28:33], None).color == "yellow"
    assert analyze(frames[:20], None).color == RED_CIRCLE.color


def test_given_audio_is_kept_and_the_prompt_decides_the_frames(draw):
    audio = tone(880)
    clip = draw(RED_CIRCLE, Conditions(audio=AudioCondition(audio)))
    assert clip.audio is not None
    count = min(clip.audio.shape[-1], audio.samples.shape[-1])
    assert np.corrcoef(clip.audio[0, :count], audio.samples[0, :count])[0, 1] > 0.99
    seen = see(clip)
    assert (seen.color, seen.background) == (RED_CIRCLE.color, RED_CIRCLE.background)


def test_an_image_gets_the_tone_of_its_prompt(draw):
    image = Image.fromarray(true_frames(RED_CIRCLE, 256.0)[0])
    assert see(draw(replace(RED_CIRCLE, tone=Tone.HIGH), first_frame(image))).tone == Tone.HIGH
