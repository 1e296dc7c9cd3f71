"""What a training batch gives has the tokens, noise levels and places that the server gives."""

import random
from collections import Counter
from types import SimpleNamespace

import torch

from models.ltx2.conditioned import ConditionedPipeline
from training import transformer
from training.architecture import build_transformer
from training.given import SHARES, Given, Kind, draw_given
from training.latents import encode_clip
from training.transformer import Batch, Data
from training.world import FRAME_RATE, Place, Size, Tone, draw_scene

SIZE = Size(64, 96, 17)
FRAMES, ROWS, COLUMNS = SIZE.latent
TOKENS = FRAMES * ROWS * COLUMNS


class Encoder(torch.nn.Module):
    """Encodes to the mean color of each patch, with the VAE's shapes."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def encode(self, frames: torch.Tensor) -> SimpleNamespace:
        count = (frames.shape[2] - 1) // 8 + 1
        latents = torch.nn.functional.adaptive_avg_pool3d(frames, (count, ROWS, COLUMNS))
        return SimpleNamespace(latent_dist=SimpleNamespace(mode=lambda: latents))


def batch_with(given: Given) -> Batch:
    clips = [encode_clip(Encoder(), draw_scene(rng), SIZE, given.place, rng) for rng in map(random.Random, range(2))]
    tones = {tone: torch.rand(40, 32) for tone in Tone}
    data = Data(SimpleNamespace(), torch.zeros(3), torch.ones(3), tones)  # type: ignore[arg-type]
    return transformer.make_batch(given, clips, data, random.Random(0), "cpu")


def test_given_tokens_are_clean_and_have_no_noise():
    batch = batch_with(Given(torch.tensor([1.0, 0.0, 1.0]), torch.tensor([1.0] * 5 + [0.0] * 13), image=True))
    levels = batch.video_sigma[0].split([ROWS * COLUMNS] * (FRAMES + 1))
    assert [bool(level.any()) for level in levels] == [False, True, False, False]
    assert [bool(level) for level in batch.audio_sigma[0]] == [False] * 5 + [True] * 13
    clean = batch.video + batch.video_sigma[..., None] * -batch.video_velocity
    assert torch.allclose(batch.video[:, :6], clean[:, :6])
    assert not torch.allclose(batch.video[:, 6:12], clean[:, 6:12])


def test_what_is_around_a_window_may_differ_from_the_prompt():
    around = torch.tensor([1.0, 0.0, 1.0])
    plain, variant = (
        batch_with(Given(around, torch.zeros(18), image=False, variant=differs)) for differs in (False, True)
    )
    clean, other = (batch.video - batch.video_sigma[..., None] * batch.video_velocity for batch in (plain, variant))
    for given, one, another in zip(around, clean.chunk(FRAMES, 1), other.chunk(FRAMES, 1), strict=True):
        assert all(torch.allclose(*rows, atol=1e-5) != bool(given) for rows in zip(one, another, strict=True))
    assert plain.prompts == variant.prompts


def test_an_appended_image_lies_where_the_server_puts_it():
    batch = batch_with(Given(torch.zeros(FRAMES), torch.zeros(18), image=True))
    found = transformer._coordinates(build_transformer().rope, batch)[:, :, TOKENS:]
    scales = {"vae_temporal_compression_ratio": 8, "vae_spatial_compression_ratio": 32}
    server = SimpleNamespace(transformer_spatial_patch_size=1, transformer_temporal_patch_size=1, **scales)
    assert batch.image_frames is not None
    for row, frame in enumerate(batch.image_frames.tolist()):
        wanted = ConditionedPipeline._prepare_keyframe_coords(server, 1, ROWS, COLUMNS, frame, 1, FRAME_RATE, "cpu")
        assert torch.allclose(found[row], wanted[0])


def test_every_kind_is_drawn_and_a_window_leaves_something_to_learn():
    rng, seen, variants = random.Random(5), Counter[tuple[bool, int, bool]](), 0
    for _ in range(2000):
        given = draw_given(4, 25, rng)
        whole = bool(given.frames.all()), bool(given.audio.all())
        assert whole != (True, True)
        shown = given.image or bool(given.frames.any())
        assert shown or not given.variant
        assert given.place is (Place.ANYWHERE if shown else Place.MIDDLE)
        variants += given.variant
        seen[given.image, int(given.frames.sum()), whole[1]] += 1
    assert 0.55 < seen[False, 0, False] / 2000 < 0.75
    assert {(True, 0, False), (True, 1, False), (False, 4, False), (False, 0, True), (False, 2, False)} <= set(seen)
    assert 0 < variants < 200
    assert sum(SHARES.values()) == 1
    assert set(SHARES) == set(Kind)
