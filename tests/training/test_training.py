import math
import random
from dataclasses import replace
from pathlib import Path
from statistics import mean

import pytest
import torch
from safetensors.torch import load_file

from models.conditions import NO_CONDITIONS
from models.ltx2.model import Ltx2Model
from models.optimizations.selection import ALWAYS_FASTER
from models.progress import Progress
from models.request.negative_prompt import DEFAULT_NEGATIVE_PROMPT
from models.request.request import VideoRequest
from training.architecture import TEXT_TOKENS, build_connectors, build_text_encoder, build_video_vae
from training.export import export
from training.latents import Bucket, LatentPool, find_shape
from training.optimizer import Trained
from training.prompts import build_tokenizer, describe, vocabulary, write_prompt
from training.run import Steps, create_parts, train
from training.run_state import load_state, seed_step
from training.stage import Plan
from training.text import encode_prompts
from training.transformer import favor_small
from training.video_vae import forget_earlier_frames
from training.world import Motion, Place, Scene, Shape, Size, Tone, render_frames

BUCKETS = (Bucket(Size(64, 64, 9), 1.0, 2, {Place.MIDDLE: 3, Place.ANYWHERE: 2}),)
SCENE = Scene(Shape.CIRCLE, "red", "blue", Motion.STILL, Tone.LOW)
MAX_BYTES = 12_000_000
VAE_FILE = "vae/diffusion_pytorch_model.safetensors"


def plan(folder: Path) -> Plan:
    return Plan(folder, seed=3, device="cpu", buckets=BUCKETS)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a few steps in one go."""
    folder = tmp_path_factory.mktemp("run")
    train(plan(folder), Steps(1, 2, 4))
    return folder


def weights(folder: Path) -> dict[str, torch.Tensor]:
    state = load_state(folder / "transformer.pt")
    assert state is not None
    return state["network"]


def test_a_run_that_was_cut_ends_as_one_that_was_not(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    update = Trained.update

    def cut(trained: Trained, loss: torch.Tensor, lr_scale: float) -> None:
        if trained.step == 2 and "transformer" in dict(trained.network.named_children()):
            raise KeyboardInterrupt
        update(trained, loss, lr_scale)

    every_step = Plan(tmp_path, seed=3, device="cpu", buckets=BUCKETS, save_interval_s=0)
    with monkeypatch.context() as patch:
        patch.setattr(Trained, "update", cut)
        with pytest.raises(KeyboardInterrupt):
            train(every_step, Steps(1, 2, 4))
    train(every_step, Steps(1, 2, 4))
    whole = weights(run)
    assert all(torch.equal(weight, whole[name]) for name, weight in weights(tmp_path).items())


def test_the_server_loads_and_renders_the_checkpoint(run: Path, tmp_path: Path) -> None:
    def ignore(_progress: Progress) -> None:
        pass

    model = Ltx2Model.load(str(run / "checkpoint"), "cpu", tmp_path, ignore)
    fields = {"prompt": describe(SCENE), "height": 64, "width": 64, "num_frames": 9, "num_inference_steps": 2}
    clip = model.render(VideoRequest.model_validate(fields), NO_CONDITIONS, ignore)
    model.close()
    assert clip.frames.shape == (9, 64, 64, 3)
    assert model.optimizations == ALWAYS_FASTER


def test_a_run_is_exported_from_its_last_save(run: Path, tmp_path: Path) -> None:
    record = export(plan(run), tmp_path / "checkpoint")
    assert record["steps"] == {"video_vae": 1, "audio_vae": 2, "transformer": 4}
    for path in (run / "checkpoint").rglob("*.safetensors"):
        assert (tmp_path / "checkpoint" / path.relative_to(run / "checkpoint")).read_bytes() == path.read_bytes()


def test_the_checkpoint_is_small_and_all_float16(run: Path) -> None:
    from safetensors import safe_open

    files = [path for path in (run / "checkpoint").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= MAX_BYTES
    for path in files:
        if path.suffix == ".safetensors":
            with safe_open(path, "pt") as opened:
                assert {opened.get_slice(name).get_dtype() for name in opened.keys()} == {"F16"}  # noqa: SIM118


def test_a_new_run_begins_with_the_weights_of_a_checkpoint(run: Path, tmp_path: Path) -> None:
    kept = load_state(run / "transformer.pt")
    assert kept is not None
    parts = create_parts(plan(tmp_path), run / "checkpoint")
    for name, weight in parts["transformer"].network.state_dict().items():
        torch.testing.assert_close(weight, kept["average"][name], rtol=2e-3, atol=1e-3)


def test_frozen_parts_of_a_checkpoint_survive_a_second_call_without_it(run: Path, tmp_path: Path) -> None:
    train(plan(tmp_path), Steps(0, 0, 1), run / "checkpoint")
    train(plan(tmp_path), Steps(0, 0, 2))
    states = [load_state(folder / "video_vae.pt") for folder in (run, tmp_path)]
    assert states[0] is not None
    assert states[1] is not None
    name = "decoder.conv_out.conv.weight"
    torch.testing.assert_close(states[1]["network"][name], states[0]["average"][name], rtol=2e-3, atol=1e-3)


def test_the_latent_statistics_of_a_checkpoint_are_kept(run: Path, tmp_path: Path) -> None:
    """A transformer whose latents are scaled anew begins with wrong inputs."""
    other_seed = replace(plan(tmp_path), seed=4)
    train(other_seed, Steps(0, 0, 1), run / "checkpoint")
    before, after = (load_file(folder / "checkpoint" / VAE_FILE) for folder in (run, tmp_path))
    assert not torch.equal(before["latents_std"], torch.ones_like(before["latents_std"]))
    assert torch.equal(after["latents_std"], before["latents_std"])


def test_a_run_from_nothing_begins_with_small_clips() -> None:
    def mean_tokens(step: int) -> float:
        rng = random.Random(1)
        drawn = [pool.draw_bucket(rng, favor_small(step, 100)) for _ in range(2000)]
        return mean(math.prod(bucket.size.latent) for bucket in drawn)

    pool = LatentPool(None, seed=0)
    by_share = sum(bucket.share * math.prod(bucket.size.latent) for bucket in pool.buckets)
    assert mean_tokens(0) < by_share / 2 < mean_tokens(30) < mean_tokens(60)
    assert mean_tokens(60) == mean_tokens(100) == pytest.approx(by_share, rel=0.1)


def test_short_texts_are_what_the_connectors_make_of_padded_ones() -> None:
    """Attention over 1,024 padded tokens must equal attention over the words and weighted registers."""
    tokenizer, connectors = build_tokenizer(), build_connectors()
    encoder = build_text_encoder(len(tokenizer)).eval().model.language_model
    prompt = describe(SCENE)
    batch = tokenizer([prompt], padding="max_length", return_tensors="pt")
    query = torch.randn(connectors.config.caption_channels)
    with torch.no_grad():
        short = encode_prompts(tokenizer, encoder, connectors, [prompt])
        states = encoder(
            input_ids=batch.input_ids, attention_mask=batch.attention_mask, output_hidden_states=True
        ).hidden_states
        padded, _, _ = connectors(torch.stack(states, dim=-1), batch.attention_mask)
        weights = torch.softmax(short.video[0] @ query + short.bias[0, 0], 0)
        expected = torch.softmax(padded[0] @ query, 0) @ padded[0]
    torch.testing.assert_close(weights @ short.video[0], expected, rtol=1e-3, atol=1e-4)


def test_every_word_of_a_prompt_is_one_token() -> None:
    tokenizer = build_tokenizer()
    known = set(vocabulary())
    for word in describe(SCENE).replace(",", "").split():
        assert "\u0120" + word in known
    assert len(tokenizer("a red circle").input_ids) == len(("<bos>", "a", "red", "circle"))
    assert len(tokenizer("zq").input_ids) > len(("<bos>", "zq"))


def test_the_default_negative_prompt_leaves_room_for_registers() -> None:
    """As bytes it would fill the text, and each register would stand for itself."""
    assert len(build_tokenizer()(DEFAULT_NEGATIVE_PROMPT).input_ids) < TEXT_TOKENS / 4


def test_the_same_step_draws_the_same_prompt() -> None:
    prompts = {write_prompt(SCENE, seed_step(1, "transformer", step)) for step in (5, 5, 5)}
    assert len(prompts) == 1
    assert len({write_prompt(SCENE, seed_step(1, "transformer", step)) for step in range(20)}) > 1


def test_convolutions_that_forget_earlier_frames_encode_still_frames_as_before() -> None:
    vae = build_video_vae()
    still = render_frames(SCENE, Size(128, 128, 9), (64.0, 64.0))[None]
    moving = render_frames(replace(SCENE, motion=Motion.RIGHT), Size(128, 128, 9), (64.0, 64.0))[None]
    with torch.no_grad():
        before = vae.encode(still).latent_dist.mode()
        forget_earlier_frames(vae)
        after = vae.encode(still).latent_dist.mode()
        moved = vae.encode(moving).latent_dist.mode()
    torch.testing.assert_close(after, before, rtol=1e-3, atol=1e-4)
    assert (moved[:, :, 1] - after[:, :, 1]).abs().max() > 10 * (moved[:, :, 0] - after[:, :, 0]).abs().max()


def test_tokens_with_the_shape_are_found() -> None:
    held = find_shape(render_frames(SCENE, Size(256, 256, 9), (128.0, 128.0)))
    assert held.shape == (2, 8, 8)
    assert held[:, 2:6, 2:6].all()
    assert held.sum() == held[:, 2:6, 2:6].sum()
