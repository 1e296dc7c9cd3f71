"""Audio, edits of videos, LoRAs and two stages, as the tools at /mcp take them."""

import base64
import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest

from deployments.ingress.mcp.arguments import argument_of
from deployments.ingress.mcp.tool_schemas import describe_tools
from deployments.ingress.request_body.given_media import MediaUse
from models.memory.estimate import GB
from models.request.edits import Edit
from models.request.enums import Control
from models.request.loras import KnownLora, LoraChoice
from models.request.request import RequestLimits
from storage.outputs.store import DerivedFile, derived_key
from storage.tasks import State
from tests.ingress.conftest import PROMPT, VIDEO, Box, completing, image_file
from tests.ingress.keys import ALICE, BOB, KEYS, speaking_as
from tests.ingress.media import audio_file, decode_frames, edit_of, frames_of, inputs_of, video_file
from tests.ingress.test_control_video import LORAS as CONTROL_LORAS
from tests.ingress.test_estimate import loaded
from tests.ingress.test_loras import LORAS
from tests.ingress.test_mcp import PNG, SMALL, ZEROS, ask, call, refusal, run, url_of
from tests.product import ROOT
from tests.test_readme import BASE_URL, FENCE

PLAIN = {"ink": KnownLora()}
WITH_CONTROL = {**PLAIN, "canny": KnownLora(control=Control.CANNY)}
WAV = "data:audio/wav;base64," + base64.b64encode(audio_file(1.0)).decode()


@pytest.fixture(scope="module")
def clip() -> bytes:
    return video_file(frames_of(50), audio_s=2.0)


def ticket_for(box: Box, kind: str, key: str | None = None) -> dict[str, Any]:
    if kind == "image":
        return call(box, "create_image_upload", key=key)
    return call(box, "create_media_upload", key=key, kind=kind)


def upload(box: Box, kind: str, content: bytes, key: str | None = None) -> str:
    ticket = ticket_for(box, kind, key)
    assert httpx.put(ticket["put_url"], content=content).status_code == 200
    return str(ticket["upload_id"])


def edit(box: Box, video: str, operation: str, **arguments: Any) -> str:
    return str(call(box, "edit_video", video=video, operation=operation, prompt=PROMPT, **arguments)["video_id"])


def refused_edit(box: Box, video: str, operation: str, **arguments: Any) -> str:
    return refusal(box, "edit_video", video=video, operation=operation, prompt=PROMPT, **arguments)


def test_a_finished_video_is_edited_by_its_id_and_by_its_url(served_box: Callable[..., Box], clip: bytes) -> None:
    box = served_box()
    source = box.finished(clip)
    url = call(box, "wait_for_video", video_id=source)["video_url"]
    task_id = edit(box, source, "retake", start_time=0.4, seconds=1, mode="replace_video")
    assert edit_of(box, task_id) == Edit(10, 35, replaces_audio=False)
    assert box.row(task_id).source_task == source
    assert edit_of(box, edit(box, url, "extend", seconds=1)) == Edit(38, 75)
    assert edit_of(box, edit(box, source, "extend", seconds=1, mode="start")) == Edit(0, 37, source_at=25)
    changed = edit_of(box, edit(box, source, "change", video_strength=0.5, mode="replace_audio_and_video"))
    assert changed == Edit(0, 50, strength=0.5)


def test_an_edit_comes_from_an_upload_and_from_a_url(served_box: Callable[..., Box], clip: bytes) -> None:
    box = served_box(ingress={"image_urls": "any"})
    other = served_box()
    there = call(other, "wait_for_video", video_id=other.finished(clip))["video_url"]
    for video in (upload(box, "video", clip), there):
        made = call(box, "edit_video", video=video, operation="extend", prompt=PROMPT, seconds=1, seed=7)
        assert (made["size"], made["seconds"], made["seed"]) == ("128x64", 3, 7)
        assert edit_of(box, made["video_id"]) == Edit(38, 75)
    guarded = refused_edit(other, there.replace(url_of(other), url_of(box)), "extend", seconds=1)
    assert guarded.startswith("video must be a url of the open internet")


WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("retake", {"start_time": 5}, "start_time must be a number of seconds from 0 to"),
    ("retake", {"seconds": 4}, "seconds must be a number of seconds from"),
    ("retake", {"mode": "end"}, "mode must be one of replace_audio_and_video"),
    ("retake", {"mode": "all"}, "mode must be one of"),
    ("retake", {"video_strength": 0.5}, "video_strength must be left out: retake does not take it; 0.5 was given"),
    ("extend", {}, "seconds must be"),
    ("extend", {"seconds": 1, "start_time": 1}, "start_time must be left out: extend does not take it"),
    ("change", {"seconds": 1}, "seconds must be left out: change does not take it"),
    ("change", {"video_strength": 2}, "video_strength must be a number from 0 to 1; 2 was given"),
    ("cut", {}, 'operation must be one of retake, extend, change; "cut" was given'),
    ("control", {}, 'operation must be one of retake, extend, change; "control" was given'),
]


@pytest.mark.parametrize(("operation", "arguments", "told"), WRONG)
def test_a_wrong_argument_of_an_edit_is_named(
    served_box: Callable[..., Box], clip: bytes, operation: str, arguments: dict[str, Any], told: str
) -> None:
    box = served_box()
    assert refused_edit(box, box.finished(clip), operation, **arguments).startswith(told)


def test_a_video_that_cannot_be_edited_is_refused_with_the_reason(served_box: Callable[..., Box], clip: bytes) -> None:
    box = served_box()
    assert refused_edit(box, ZEROS, "retake") == f"video: there is no task '{ZEROS}'"
    waiting = box.submit()
    assert "not completed yet; its state is queued" in refused_edit(box, waiting, "retake")
    box.start()
    gone = box.finished(clip)
    box.client.delete(f"/v1/video/tasks/{gone}")
    assert refused_edit(box, gone, "retake").startswith("video: ")
    assert box.row(gone).state is State.DELETED
    for video in ("", "clip.mp4", "data:video/mp4;base64,!!!"):
        assert refused_edit(box, video, "retake").startswith("video must be an http or https url, an upload_id")
    assert refused_edit(box, upload(box, "video", b"no video"), "retake").startswith("video must be")
    unsent = call(box, "create_media_upload", kind="video")["upload_id"]
    assert "whose file was sent" in refused_edit(box, unsent, "retake")


def test_the_video_of_another_key_is_unknown(served_box: Callable[..., Box], clip: bytes) -> None:
    box = served_box(api_keys=KEYS)
    with speaking_as(box, ALICE):
        source = box.finished(clip)
    ticket = upload(box, "video", clip, ALICE)
    arguments = {"operation": "extend", "prompt": PROMPT, "seconds": 1}
    call(box, "edit_video", key=ALICE, video=source, **arguments)
    call(box, "edit_video", key=ALICE, video=ticket, **arguments)
    assert "there is no task" in refusal(box, "edit_video", BOB, video=source, **arguments)
    assert "an upload_id of create_media_upload" in refusal(box, "edit_video", BOB, video=ticket, **arguments)
    assert "there is no task" in refusal(box, "create_video", BOB, image=source, **SMALL)


def test_an_edit_is_estimated_from_its_source_alone(served_box: Callable[..., Box]) -> None:
    box = served_box()
    source = box.finished()  # its file is no video: an estimate does not read it
    for operation, arguments in (
        ("retake", {"start_time": 1, "seconds": 1, "mode": "replace_audio"}),
        ("extend", {"seconds": 1}),
        ("change", {"video_strength": 0.5}),
    ):
        estimated = call(box, "estimate_video", prompt=PROMPT, video=source, operation=operation, **arguments)
        assert (estimated["fits"], estimated["nearest"]) == (True, [])
    assert len(call(box, "list_videos")["videos"]) == 1


def test_an_edit_that_does_not_fit_is_told_with_what_fits(served_box: Callable[..., Box]) -> None:
    """A retake takes more than the text that its source was made from."""
    box = served_box()
    loaded(box, 7 * GB)
    source = box.finished()
    estimated = call(box, "estimate_video", prompt=PROMPT, video=source, operation="retake")
    assert not estimated["fits"]
    assert estimated["nearest"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"operation": "retake"}, "video must be a video_id: other videos are not read here; nothing was given"),
        ({"operation": "retake", "video": "https://example.com/clip.mp4"}, "video must be a video_id"),
        ({"operation": "retake", "video": ZEROS}, f"video: there is no task '{ZEROS}'"),
        ({"operation": "retake", "video": ZEROS, "size": "128x64"}, "size must be left out: there is a video"),
        ({"video": ZEROS}, "video must be left out: there is no operation"),
        ({"audio_start": 1}, "audio_start must be left out: there is no audio"),
        ({"mode": "end"}, "mode must be left out: there is no operation"),
    ],
)
def test_a_wrong_argument_of_an_estimate_is_named(
    served_box: Callable[..., Box], arguments: dict[str, Any], told: str
) -> None:
    assert refusal(served_box(), "estimate_video", prompt=PROMPT, **arguments).startswith(told)


def test_a_request_key_starts_no_edit_twice(served_box: Callable[..., Box], clip: bytes) -> None:
    box = served_box()
    source = box.finished(clip)
    first, second = (edit(box, source, "extend", seconds=1, request_key="one") for _ in range(2))
    assert first == second
    assert "key" in refused_edit(box, source, "extend", seconds=2, request_key="one")


def test_a_video_follows_an_audio(served_box: Callable[..., Box]) -> None:
    box = served_box()
    audio = upload(box, "audio", audio_file(2.0))
    made = call(box, "create_video", prompt=PROMPT, size="128x64", audio=audio, audio_start=0.4)
    assert made["seconds"] == 1.6
    assert inputs_of(box, made["video_id"]).audio is not None
    image = upload(box, "image", image_file())
    made = call(box, "create_video", audio=audio, image=image, audio_strength=0.5, **SMALL)
    given = inputs_of(box, made["video_id"])
    assert given.audio is not None
    assert (made["seconds"], given.audio.strength, len(given.images)) == (1, 0.5, 1)
    call(box, "create_video", audio=WAV, **SMALL)
    assert call(box, "estimate_video", audio=audio, **SMALL)["fits"]


def test_a_wrong_audio_is_named(served_box: Callable[..., Box]) -> None:
    box = served_box()
    assert refusal(box, "create_video", audio_start=1, **SMALL).startswith("audio_start must be left out: there is no")
    assert refusal(box, "create_video", audio="song.mp3", **SMALL).startswith("audio must be an http or https url, an")
    assert refusal(box, "create_video", audio=ZEROS, **SMALL).startswith("audio must be")
    late = refusal(box, "create_video", audio=WAV, audio_start=5, **SMALL)
    assert late.startswith("audio_start must be")
    short = refusal(box, "create_video", prompt=PROMPT, audio=WAV, seconds=0.2)
    assert short.startswith("seconds must be")
    keyframes = [{"image": ZEROS, "at": "0.5s"}]
    assert refusal(box, "create_video", audio=WAV, keyframes=keyframes, **SMALL).startswith("keyframes must be left")


def test_a_video_begins_with_the_last_frame_of_another(served_box: Callable[..., Box], clip: bytes) -> None:
    box = served_box()
    source = box.finished(clip)
    made = call(box, "create_video", image=source, **SMALL)
    assert len(inputs_of(box, made["video_id"]).images) == 1
    assert box.outputs.stat(derived_key(source, DerivedFile.LAST_FRAME)) is not None
    assert refusal(box, "create_video", end_image=ZEROS, **SMALL) == f"end_image: there is no task '{ZEROS}'"


def test_loras_and_a_camera_motion_are_picked_by_name(served_box: Callable[..., Box], clip: bytes) -> None:
    box = served_box(generator={"loras": LORAS})
    picked = {"loras": [{"name": "ink", "scale": 0.5}, {"name": "a"}], "camera_motion": "dolly_in"}
    chosen = (LoraChoice(name="ink", scale=0.5), LoraChoice(name="a"), LoraChoice(name="dolly_in"))
    made = call(box, "create_video", **picked, **SMALL)
    assert box.row(made["video_id"]).request.chosen_loras == chosen
    assert call(box, "estimate_video", **picked, **SMALL)["fits"]
    box.start()
    edited = edit(box, box.finished(clip), "change", **picked)
    assert box.row(edited).request.chosen_loras == chosen
    for wrong, told in (
        ({"loras": [{"name": "nobody"}]}, "loras[0].name must be one of dolly_in, ink, a, b, c"),
        ({"loras": [{"name": "a", "scale": 2.5}]}, "loras[0].scale must be a number from 0 to 2"),
        ({"loras": [{"name": "ink", "scale": 1.8}]}, "loras[0].scale must be a number from 0 to 1.5 for ink"),
        ({"loras": [{"name": "a"}] * 2}, "loras must be"),
        ({"camera_motion": "nobody"}, "camera_motion must be one of dolly_in"),
    ):
        assert refusal(box, "create_video", **wrong, **SMALL).startswith(told)


def test_a_server_without_loras_does_not_list_the_arguments(served_box: Callable[..., Box]) -> None:
    for tool in ("create_video", "edit_video", "estimate_video"):
        assert (
            not {"loras", "camera_motion"}
            & describe_tools(RequestLimits(), {})[tool]["input_schema"]["properties"].keys()
        )
    assert call(served_box(), "create_video", loras=[{"name": "ink"}], **SMALL)["ignored"] == ["loras"]


def test_the_guide_tells_of_loras_edits_and_two_stages(served_box: Callable[..., Box]) -> None:
    box = served_box(generator={"loras": LORAS})
    text = run(ask(url_of(box), "get_guide")).content[0].text
    assert "| `ink` | ink drawing | 1.5 |" in text
    for told in ("operation extend", "operation retake", "operation change", "upscale 2 cannot be used here"):
        assert told in text
    assert "LoRA" not in run(ask(url_of(served_box()), "get_guide")).content[0].text


def test_a_video_follows_a_control_video(served_box: Callable[..., Box], clip: bytes) -> None:
    box = served_box(generator={"loras": CONTROL_LORAS})
    source = box.finished(clip)
    picked = {"loras": [{"name": "canny"}, {"name": "ink", "scale": 0.5}]}
    made = edit(box, source, "control", control_strength=0.75, preprocessor="canny", **picked)
    control = inputs_of(box, made).control
    assert control is not None
    assert (control.lora, control.strength, control.downscale_factor) == ("canny", 0.75, 1)
    assert {*np.unique(decode_frames(control.content)[0][:64])} == {16, 235}  # edges, white on black
    assert (box.row(made).source_task, box.row(made).request.num_frames) == (source, 50)
    sent = edit(box, upload(box, "video", clip), "control", loras=[{"name": "union"}])
    control = inputs_of(box, sent).control
    assert control is not None
    assert (control.lora, control.strength, control.downscale_factor) == ("union", 1, 2)


def test_images_come_with_a_control_video_and_with_no_other_source(served_box: Callable[..., Box], clip: bytes) -> None:
    box = served_box(generator={"loras": CONTROL_LORAS})
    source = box.finished(clip)
    given = {"image": PNG, "keyframes": [{"image": PNG, "at": "1s", "strength": 0.5}]}
    made = edit(box, source, "control", loras=[{"name": "canny"}], **given)
    places = [(each.place.frame, each.place.strength) for each in inputs_of(box, made).images]
    assert places == [(0, 1), (25, 0.5)]
    same = {"prompt": PROMPT, "video": source, "operation": "control", "loras": [{"name": "canny"}]}
    assert call(box, "estimate_video", **same, **given)["fits"]
    for name, value in (("image", PNG), ("keyframes", given["keyframes"]), ("end_image_strength", 0.5)):
        told = f"{name} must be left out: retake does not take it"
        assert refused_edit(box, source, "retake", **{name: value}).startswith(told)
    late = refused_edit(box, source, "control", loras=[{"name": "canny"}], keyframes=[{"image": PNG, "at": "3s"}])
    assert late.startswith("keyframes must be a frame from 0 to 49")


def test_a_control_video_is_estimated_from_its_source_alone(served_box: Callable[..., Box]) -> None:
    box = served_box(generator={"loras": CONTROL_LORAS})
    same = {"prompt": PROMPT, "video": box.finished(), "operation": "control"}
    for arguments in ({"loras": [{"name": "canny"}]}, {"loras": [{"name": "union"}], "preprocessor": "canny"}):
        assert call(box, "estimate_video", **same, **arguments)["fits"]
    assert refusal(box, "estimate_video", **same).startswith("loras must be a list with exactly one of canny, union")
    assert refusal(box, "estimate_video", prompt=PROMPT, loras=[{"name": "canny"}]).startswith(ALONE)


ALONE = "loras[0].name must be a LoRA that needs no control video; operation control takes one"
CONTROL_WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("control", {}, "loras must be a list with exactly one of canny, union, with a scale above 0; none of them was"),
    ("control", {"loras": [{"name": "ink"}]}, "loras must be a list with exactly one of canny, union"),
    ("control", {"loras": [{"name": "canny"}], "preprocessor": "depth"}, "preprocessor must be one of none, canny"),
    ("control", {"loras": [{"name": "canny"}], "video_strength": 0.5}, "video_strength must be left out: control does"),
    ("control", {"loras": [{"name": "canny"}], "control_strength": 2}, "control_strength must be a number from 0 to 1"),
    ("change", {"preprocessor": "canny"}, "preprocessor must be left out: change does not take it"),
    ("change", {"loras": [{"name": "canny"}]}, ALONE),
    ("change", {"camera_motion": "canny"}, "camera_motion must be one of ink"),
]


@pytest.mark.parametrize(("operation", "arguments", "told"), CONTROL_WRONG)
def test_a_wrong_argument_of_a_control_video_is_named(
    served_box: Callable[..., Box], clip: bytes, operation: str, arguments: dict[str, Any], told: str
) -> None:
    box = served_box(generator={"loras": CONTROL_LORAS})
    assert refused_edit(box, box.finished(clip), operation, **arguments).startswith(told)


def test_only_a_server_with_loras_for_it_tells_of_control_videos(served_box: Callable[..., Box]) -> None:
    plain, with_control = (describe_tools(RequestLimits(), known) for known in (PLAIN, WITH_CONTROL))
    assert "control" not in json.dumps(plain)
    told = with_control["edit_video"]["description"]
    assert "control makes a new video that follows its edges, depth or poses, with a LoRA: canny (canny)" in told
    creates, edits = (with_control[name]["input_schema"]["properties"] for name in ("create_video", "edit_video"))
    assert edits["operation"]["enum"][-1] == "control"
    assert [each["loras"]["items"]["properties"]["name"]["enum"] for each in (creates, edits)] == [
        ["ink"],
        ["ink", "canny"],
    ]
    guides = [
        run(ask(url_of(served_box(generator={"loras": loras})), "get_guide")).content[0].text
        for loras in (LORAS, CONTROL_LORAS)
    ]
    assert ["operation control" in text for text in guides] == [False, True]
    assert "| `union` |  | 2 | other |" in guides[1]


def test_an_upload_says_what_it_takes(served_box: Callable[..., Box]) -> None:
    box = served_box(limits={"max_image_bytes": 5000, "max_audio_bytes": 6000, "max_video_bytes": 7000})
    for kind, most in (("image", 5000), ("audio", 6000), ("video", 7000)):
        ticket = ticket_for(box, kind)
        assert (ticket["max_bytes"], kind in ticket["next_step"]) == (most, True)
    assert refusal(box, "create_media_upload", kind="image").startswith("kind must be one of audio, video")
    large = upload(box, "video", b"x" * 6500)
    assert refusal(box, "create_video", audio=large, **SMALL).startswith("audio must be a file of at most 6000 bytes")


def test_every_field_of_a_use_is_an_argument() -> None:
    """Nor is one forgotten that the routes have."""
    tools = describe_tools(RequestLimits(), WITH_CONTROL)
    for use in MediaUse:
        tool = "create_video" if use is MediaUse.A2V else "edit_video"
        there = tools[tool]["input_schema"]["properties"]
        assert {argument_of(field) for field in (use.file_field, *use.fields)} <= there.keys()


def test_the_program_of_the_page_works(served_box: Callable[..., Box]) -> None:
    """The Python program of docs/mcp.md, as it is written."""
    box = served_box()
    page = (ROOT / "docs/mcp.md").read_text(encoding="utf-8")
    (program,) = [body for language, body in FENCE.findall(page) if language == "python"]
    with completing(box):
        command = [sys.executable, "-c", program.replace(BASE_URL, url_of(box))]
        told = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert told.returncode == 0, told.stderr
    assert httpx.get(told.stdout.strip()).content == VIDEO
