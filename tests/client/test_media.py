"""The client's audio to video, retake, extend, video to video and control video, against a real server."""

import asyncio

import httpx
import pytest

from ltx2_client import (
    ApiError,
    AsyncClient,
    AudioOptions,
    ChangeOptions,
    Client,
    ControlOptions,
    ExtendOptions,
    Keyframe,
    Options,
    RetakeOptions,
    UsageError,
)
from ltx2_client.cli import main
from ltx2_client.cli_args import options, parser
from ltx2_client.core import RetryPolicy
from ltx2_client.media import GivenMedia, submit_media
from ltx2_client.transport import build_request
from models.request.edits import Edit
from storage.inputs import unpack_inputs
from tests.client.server import VIDEO, serve
from tests.ingress.conftest import image_file
from tests.ingress.media import audio_file, decode_audio, frames_of, video_file

PROMPT = "A singer on a small stage in warm light."
FRAMES = frames_of(50)


@pytest.fixture(scope="module")
def clip():
    return video_file(FRAMES, audio_s=2.0)


@pytest.fixture
def held(server):
    """The server, whose tasks do not end: their input files are deleted at the end."""
    server.may_finish.clear()
    yield server
    server.may_finish.set()


def inputs_of(server, task_id):
    return unpack_inputs(b"".join(server.outputs.open(server.tasks.get(task_id).input_key)))


def replace_video(server, task, content):
    """Put a real MP4 in place of the worker's bytes."""
    server.outputs.put(f"outputs/ltx2_{task.task_id}.mp4", content)


def test_audio_and_images_reach_the_task(client, held, tmp_path):
    (tmp_path / "voice.wav").write_bytes(audio_file(3.0))
    task_id = client.submit_audio_to_video(
        PROMPT, tmp_path / "voice.wav", image=image_file(), audio_start=1, duration=1.5, audio_strength=0.5
    ).task_id
    given = inputs_of(held, task_id)
    assert decode_audio(given.audio.content).shape[1] == 72_000
    assert (given.audio.strength, len(given.images)) == (0.5, 1)


def test_a_retake_and_an_extend_send_the_video_and_its_window(client, held, clip, tmp_path):
    (tmp_path / "clip.mp4").write_bytes(clip)
    window = RetakeOptions(start_time=0.4, duration=1, mode="replace_video")
    task_id = client.submit_retake(PROMPT, tmp_path / "clip.mp4", **window).task_id
    assert inputs_of(held, task_id).source.edit == Edit(10, 35, replaces_audio=False)
    task_id = client.submit_extend(PROMPT, clip, duration=1, mode="start").task_id
    assert inputs_of(held, task_id).source.edit == Edit(0, 37, source_at=25)


def test_video_to_video_sends_the_video_and_its_strength(client, held, clip, tmp_path):
    (tmp_path / "clip.mp4").write_bytes(clip)
    change = ChangeOptions(video_strength=0.25, mode="replace_audio_and_video")
    task_id = client.submit_video_to_video(PROMPT, tmp_path / "clip.mp4", **change).task_id
    assert inputs_of(held, task_id).source.edit == Edit(0, 50, strength=0.25)


def test_a_control_video_is_sent_with_its_lora(clip, tmp_path):
    (tmp_path / "clip.mp4").write_bytes(clip)
    control = ControlOptions(control_strength=0.5, preprocessor="canny", loras=[{"name": "canny", "scale": 1}])
    loras = {"canny": {"path": tmp_path / "canny.safetensors", "control": "canny"}}
    with serve(tmp_path, generator={"loras": loras}) as server, Client(server.url) as client:
        server.may_finish.clear()
        middle = Keyframe(image_file(), "1s", 0.5)
        images = {"image": image_file(), "keyframes": [middle]}
        task_id = client.submit_control_video(PROMPT, tmp_path / "clip.mp4", **images, **control).task_id
        kept = inputs_of(server, task_id)
        server.may_finish.set()
    assert (kept.control.lora, kept.control.strength) == ("canny", 0.5)
    assert [(each.place.frame, each.place.strength) for each in kept.images] == [(0, 1), (25, 0.5)]


def test_a_task_is_a_source_in_place_of_a_file(client, server, clip, tmp_path):
    done = client.generate(PROMPT, tmp_path / "one.mp4", num_inference_steps=2)
    replace_video(server, done, clip)
    for make, fields in ((client.retake, {}), (client.extend, {"duration": 1}), (client.video_to_video, {})):
        task = make(PROMPT, tmp_path / "two.mp4", source_task=done.task_id, num_inference_steps=2, **fields)
        assert (task.status, (tmp_path / "two.mp4").read_bytes()) == ("completed", VIDEO)
    server.may_finish.clear()
    task_id = client.submit(PROMPT, source_task=done.task_id).task_id
    assert len(inputs_of(server, task_id).images) == 1


def test_a_retry_sends_the_whole_file_again(client, held, clip, tmp_path):
    (tmp_path / "clip.mp4").write_bytes(clip)
    held.line.lose_answers = 1
    task_id = client.submit_extend(PROMPT, tmp_path / "clip.mp4", duration=1).task_id
    assert (held.rows(), inputs_of(held, task_id).source.edit) == (1, Edit(38, 75))


def test_the_async_client_does_the_same(server, clip, tmp_path):
    (tmp_path / "clip.mp4").write_bytes(clip)

    async def all_four():
        async with AsyncClient(server.url, poll_interval_s=0.05) as client:
            few = {"num_inference_steps": 2}
            await client.audio_to_video(PROMPT, tmp_path / "a.mp4", audio_file(1.0), **few)
            await client.retake(PROMPT, tmp_path / "b.mp4", tmp_path / "clip.mp4", **few)
            await client.extend(PROMPT, tmp_path / "c.mp4", tmp_path / "clip.mp4", duration=1, **few)
            await client.video_to_video(PROMPT, tmp_path / "d.mp4", tmp_path / "clip.mp4", **few)

    asyncio.run(all_four())
    assert [(tmp_path / f"{name}.mp4").read_bytes() for name in "abcd"] == [VIDEO] * 4


def test_a_wrong_file_and_a_wrong_field_are_told_by_name(client, tmp_path):
    with pytest.raises(ApiError) as refused:
        client.submit_audio_to_video(PROMPT, b"no audio at all")
    assert refused.value.field == "audio"
    with pytest.raises(ApiError) as unknown:
        client.submit_retake(PROMPT, source_task="0" * 32)
    assert unknown.value.status == 404
    with pytest.raises(UsageError, match="cannot be read"):
        client.submit_extend(PROMPT, tmp_path / "none.mp4", duration=1)


def test_a_file_is_read_while_it_is_sent(client, tmp_path):
    (tmp_path / "clip.mp4").write_bytes(b"frames")
    given = GivenMedia("retake", tmp_path / "clip.mp4")
    operation = submit_media(PROMPT, given, {}, "key", RetryPolicy())
    call = next(operation)
    ((_, (name, file)),) = call.files
    with httpx.Client() as http:
        request = build_request(http, client.server, call, {})
        assert (name, file.tell()) == ("clip.mp4", 0)
        for _ in range(2):
            assert b"frames" in b"".join(request.stream)
    operation.close()
    assert file.closed


def parse(*arguments, kind):
    return options(parser().parse_args(arguments), kind)


def test_the_command_line_has_the_fields_of_each_use():
    assert parse("a2v", PROMPT, "--audio", "a.wav", "--audio-start", "1", kind=AudioOptions) == {"audio_start": 1.0}
    window = ("--start-time", "0.5", "--duration", "2", "--mode", "replace_audio")
    asked = parse("retake", PROMPT, "--source-task", "f00", *window, kind=RetakeOptions)
    assert asked == {"source_task": "f00", "start_time": 0.5, "duration": 2.0, "mode": "replace_audio"}
    given = ("--video", "a.mp4", "--duration", "2", "--mode", "start", "--context", "3")
    assert parse("extend", PROMPT, *given, kind=ExtendOptions) == {"duration": 2.0, "mode": "start", "context": 3.0}
    change = ("--source-task", "f00", "--video-strength", "0.3", "--mode", "replace_video")
    asked = parse("v2v", PROMPT, *change, kind=ChangeOptions)
    assert asked == {"source_task": "f00", "video_strength": 0.3, "mode": "replace_video"}
    asked = parse("control", PROMPT, "--lora", "canny", "--preprocessor", "canny", kind=ControlOptions)
    assert asked == {"loras": [{"name": "canny", "scale": 1.0}], "preprocessor": "canny"}
    assert parse("generate", PROMPT, "--source-task", "f00", kind=Options) == {"source_task": "f00"}


def test_the_commands_save_the_video(server, clip, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("LTX_SERVER", server.url)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "voice.wav").write_bytes(audio_file(1.0))
    (tmp_path / "clip.mp4").write_bytes(clip)
    few = ("--num-inference-steps", "2", "-o")
    assert main(["a2v", PROMPT, "--audio", "voice.wav", *few, "a.mp4"]) == 0, capsys.readouterr().err
    assert main(["retake", PROMPT, "--video", "clip.mp4", "--mode", "replace_audio", *few, "b.mp4"]) == 0
    assert main(["extend", PROMPT, "--video", "clip.mp4", "--duration", "1", *few, "c.mp4"]) == 0
    assert main(["v2v", PROMPT, "--video", "clip.mp4", "--video-strength", "0.5", *few, "d.mp4"]) == 0
    assert [(tmp_path / f"{name}.mp4").read_bytes() for name in "abcd"] == [VIDEO] * 4
    assert len(server.seen) == 4
