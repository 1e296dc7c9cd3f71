import random
from dataclasses import replace

import numpy as np
import pytest
import torch

from training.analyser import analyze, find_center, hear_tone
from training.architecture import SAMPLE_RATE_HZ, build_vocoder
from training.evaluate import ATTRIBUTES, compare, held_out_scenes
from training.tones import render_spectrogram, set_vocoder
from training.world import TOKEN_PX, Motion, Place, Scene, Shape, Size, Tone, choose_center, render_frames

SIZE = Size(256, 384, 25)
BASE = Scene(Shape.CIRCLE, "red", "blue", Motion.STILL, Tone.LOW)


def draw(scene: Scene, size: Size = SIZE, seed: int = 0, place: Place = Place.ANYWHERE) -> np.ndarray:
    frames = render_frames(scene, size, choose_center(scene, size, place, random.Random(seed)))
    return ((frames.permute(1, 2, 3, 0) + 1) * 127.5).round().byte().numpy()


def play(tone: Tone) -> np.ndarray:
    vocoder = build_vocoder()
    set_vocoder(vocoder)
    with torch.no_grad():
        return vocoder(render_spectrogram(tone, 104)[None])[0].numpy()


@pytest.mark.parametrize("motion", list(Motion))
@pytest.mark.parametrize("shape", list(Shape))
def test_a_true_clip_is_read_right(shape: Shape, motion: Motion) -> None:
    for held_out in held_out_scenes(3):
        scene = replace(held_out, shape=shape, motion=motion, tone=Tone.HIGH)
        seen = analyze(draw(scene), play(Tone.HIGH))
        assert [name for name, right in compare(scene, seen).items() if not right] == []


@pytest.mark.parametrize("size", [Size(384, 256, 25), Size(256, 256, 17), Size(256, 384, 9), Size(512, 768, 121)])
def test_other_sizes_are_read_right(size: Size) -> None:
    scene = replace(BASE, motion=Motion.GROW)
    seen = analyze(draw(scene, size), None)
    assert (seen.shape, seen.motion, seen.tone) == (Shape.CIRCLE, Motion.GROW, None)


@pytest.mark.parametrize("tone", list(Tone))
def test_the_vocoder_plays_each_tone(tone: Tone) -> None:
    assert hear_tone(play(tone).mean(0), SAMPLE_RATE_HZ) is tone


def test_an_empty_clip_has_no_shape() -> None:
    frames = np.full((9, 64, 64, 3), (220, 30, 40), dtype=np.uint8)
    seen = analyze(frames, None)
    assert (seen.background, seen.color, seen.shape, seen.motion) == ("red", None, None, None)


def test_every_attribute_of_a_scene_is_compared() -> None:
    assert set(vars(BASE)) == set(ATTRIBUTES)


@pytest.mark.parametrize("motion", list(Motion))
def test_the_middle_of_a_path_is_the_middle_of_the_video(motion: Motion) -> None:
    frames = draw(replace(BASE, motion=motion), place=Place.MIDDLE)
    x, y = find_center(frames[SIZE.frames // 2])
    assert abs(x - SIZE.width / 2) <= TOKEN_PX / 2
    assert abs(y - SIZE.height / 2) <= TOKEN_PX / 2
