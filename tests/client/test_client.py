"""The client against a real server: nothing is lost when the server restarts or a connection breaks."""

import asyncio
import threading

import httpx
import pytest
from PIL import Image

from ltx2_client import (
    ApiError,
    AsyncClient,
    Client,
    ClientError,
    DownloadFailed,
    Keyframe,
    Options,
    TaskFailed,
    Unreachable,
)
from ltx2_client.responses import Task, from_json
from models.checkpoint.profile import choose_profile
from models.memory.estimate import estimate_peak
from models.request.request import VideoRequest
from storage.inputs import unpack_inputs
from storage.outputs.store import preview_key
from storage.tasks import Failure, ServedModel
from tests.client.server import MODEL, POSTER, VIDEO
from tests.ingress.conftest import image_file

PROMPT = "A paper boat drifts across a bowl."


def leftovers(folder):
    return sorted(path.name for path in folder.iterdir() if path.name != "server")


def test_a_text_becomes_a_file_and_progress_is_told(client, tmp_path):
    seen = []
    task = client.generate(PROMPT, tmp_path / "boat.mp4", num_inference_steps=4, on_progress=seen.append)
    assert (tmp_path / "boat.mp4").read_bytes() == VIDEO
    assert task.status == "completed"
    assert {each.stage for each in seen} >= {"denoising"}
    assert [each.progress for each in seen] == sorted(each.progress for each in seen)
    assert leftovers(tmp_path) == ["boat.mp4"]


@pytest.mark.parametrize("asynchronous", [False, True], ids=["blocking", "asyncio"])
def test_a_preview_is_there_while_the_video_is_made(client, server, asynchronous):
    """Its bytes, and None before it and after the end. An unknown task is an error."""
    server.may_finish.clear()
    preview_of = in_asyncio(server.url) if asynchronous else client.preview
    task_id = client.submit(PROMPT, num_inference_steps=2).task_id
    while client.poll(task_id).stage != "decoding":
        assert preview_of(task_id) is None
    server.outputs.put(preview_key(task_id), POSTER)
    assert server.tasks.record_preview(server.tasks.get(task_id), 1)
    assert preview_of(task_id) == POSTER
    server.outputs.delete(preview_key(task_id))
    assert preview_of(task_id) is None, "its render ended between the poll and the download"
    server.may_finish.set()
    client.wait(task_id)
    assert preview_of(task_id) is None
    with pytest.raises(ApiError, match="there is no task"):
        preview_of("nothing")


def in_asyncio(url):
    async def ask(task_id):
        async with AsyncClient(url) as client:
            return await client.preview(task_id)

    return lambda task_id: asyncio.run(ask(task_id))


def test_an_image_becomes_a_file(client, server, tmp_path):
    (tmp_path / "photo.png").write_bytes(image_file())
    options: Options = {"seed": None, "fit": "pad", "width": 128, "generate_audio": False}
    task = client.generate(PROMPT, tmp_path / "out.mp4", image=tmp_path / "photo.png", **options)
    assert (tmp_path / "out.mp4").read_bytes() == VIDEO
    row = server.tasks.get(task.task_id)
    assert row.input_key is not None
    assert (row.request.width, row.request.fit, row.request.generate_audio) == (128, "pad", False)


def test_another_file_of_a_task_is_saved(client, server, tmp_path):
    task = client.generate(PROMPT, tmp_path / "boat.mp4", generate_audio=False)
    client.download(task, tmp_path / "poster.jpg", "poster")
    assert (tmp_path / "poster.jpg").read_bytes() == POSTER
    client.download(task, tmp_path / "small.jpg", "thumbnail")
    with Image.open(tmp_path / "small.jpg") as small:
        assert small.size == (320, 160)
    with pytest.raises(DownloadFailed, match="the task has no audio"):
        client.download(task, tmp_path / "a.wav", "audio")
    assert leftovers(tmp_path) == ["boat.mp4", "poster.jpg", "small.jpg"]


def places_of(server, row) -> list[tuple[int, float]]:
    images = unpack_inputs(b"".join(server.outputs.open(row.input_key))).images
    return [(each.place.frame, each.place.strength) for each in images]


def test_images_at_both_ends_and_between_reach_their_frames(client, server, tmp_path):
    (tmp_path / "photo.png").write_bytes(image_file())
    last, between = image_file(64, 64), [Keyframe(image_file(), 12, 0.5), Keyframe(tmp_path / "photo.png", "1s")]
    images = {"image": tmp_path / "photo.png", "end_image": last, "keyframes": between}
    server.may_finish.clear()  # the images are deleted at the end of the task
    task_id = client.submit(PROMPT, **images, end_image_strength=0.25, num_frames=49).task_id
    assert places_of(server, server.tasks.get(task_id)) == [(0, 1.0), (48, 0.25), (12, 0.5), (25, 1.0)]
    assert client.estimate(PROMPT, **images, num_frames=49).fits
    alone = client.submit(PROMPT, keyframes=[Keyframe(image_file(), -1)], num_frames=49).task_id
    assert places_of(server, server.tasks.get(alone)) == [(48, 1.0)]
    server.may_finish.set()
    with pytest.raises(ApiError) as refused:
        client.submit(PROMPT, keyframes=[Keyframe(image_file(), 49)], num_frames=49)
    assert refused.value.field == "keyframe_at"


def test_an_estimate_says_what_fits_and_makes_nothing(client, server):
    free_bytes = estimate_peak(VideoRequest(prompt=PROMPT, num_frames=241)).bytes
    server.tasks.record_model(ServedModel(MODEL, choose_profile({}), free_bytes))
    taken, refused = client.estimate(PROMPT, num_frames=241), client.estimate(PROMPT, num_frames=249)
    assert (taken.fits, taken.nearest) == (True, ())
    assert (refused.fits, refused.nearest[0]["num_frames"]) == (False, 241)
    assert not client.estimate(PROMPT, image=image_file(), num_frames=249).fits
    assert client.tasks().tasks == ()


def test_the_async_client_does_the_same(server, tmp_path):
    async def both():
        async with AsyncClient(server.url, poll_interval_s=0.05) as client:
            paths = [tmp_path / "one.mp4", tmp_path / "two.mp4"]
            await asyncio.gather(*(client.generate(PROMPT, path, num_inference_steps=2) for path in paths))
            assert (await client.estimate(PROMPT)).fits
            return await client.health(), [path.read_bytes() for path in paths]

    health, files = asyncio.run(both())
    assert health.status == "ok"
    assert files == [VIDEO, VIDEO]


def test_a_restart_in_the_midst_of_polling_goes_unnoticed(client, server, tmp_path):
    server.may_finish.clear()
    polled, down = threading.Event(), threading.Event()

    def on_progress(task):
        if not polled.is_set():
            polled.set()
            down.wait(20)

    def restart():
        polled.wait(20)
        server.stop()
        down.set()
        with pytest.raises(httpx.ConnectError):
            httpx.get(server.url)
        server.may_finish.set()
        threading.Event().wait(0.7)
        server.start()

    restarting = threading.Thread(target=restart)
    restarting.start()
    client.generate(PROMPT, tmp_path / "out.mp4", num_inference_steps=2, on_progress=on_progress)
    restarting.join()
    assert (tmp_path / "out.mp4").read_bytes() == VIDEO


def test_a_proxy_that_is_up_before_the_server_is_waited_for(client, server, tmp_path):
    server.line.without_routes = 1
    task_id = client.submit(PROMPT, num_inference_steps=2).task_id
    server.line.without_routes = 1
    task = client.wait(task_id)
    server.line.without_routes = 1
    client.download(task, tmp_path / "out.mp4")
    assert server.line.without_routes == 0
    assert (tmp_path / "out.mp4").read_bytes() == VIDEO


def test_a_broken_download_goes_on_where_it_left_off(client, server, tmp_path):
    server.line.cut_bodies = 2
    client.generate(PROMPT, tmp_path / "out.mp4", num_inference_steps=2)
    assert (tmp_path / "out.mp4").read_bytes() == VIDEO
    whole, *rest = server.line.ranges
    assert whole == ""
    assert len(rest) == 2
    assert all(0 < int(each.removeprefix("bytes=").removesuffix("-")) < len(VIDEO) for each in rest)


def test_a_file_that_changed_in_between_is_fetched_anew(client, server, tmp_path):
    task = client.wait(client.submit(PROMPT, num_inference_steps=2).task_id)
    server.line.cut_bodies = 1
    other = VIDEO[::-1] + b"more"

    def replace_it(number):
        if number == 2:
            server.outputs.put(f"outputs/ltx2_{task.task_id}.mp4", other)

    server.line.before_download = replace_it
    client.download(task, tmp_path / "out.mp4")
    assert (tmp_path / "out.mp4").read_bytes() == other


def test_a_download_that_cannot_succeed_leaves_nothing_behind(server, client, tmp_path):
    task = client.wait(client.submit(PROMPT, num_inference_steps=2).task_id)
    (tmp_path / "out.mp4").write_bytes(b"what was here before")
    server.outputs.delete(f"outputs/ltx2_{task.task_id}.mp4")
    with pytest.raises(DownloadFailed, match="has lost this file"):
        client.download(task, tmp_path / "out.mp4")
    assert (tmp_path / "out.mp4").read_bytes() == b"what was here before"
    assert leftovers(tmp_path) == ["out.mp4"]


def test_patience_with_a_server_that_is_away_ends(tmp_path, server):
    server.stop()
    with Client(server.url, retry_timeout_s=0.6) as client, pytest.raises(Unreachable, match="refused"):
        client.submit(PROMPT)


def test_a_submit_whose_answer_was_lost_makes_one_task(client, server, tmp_path):
    server.line.lose_answers = 2
    (tmp_path / "photo.png").write_bytes(image_file())
    client.generate(PROMPT, tmp_path / "out.mp4", image=tmp_path / "photo.png", num_inference_steps=2)
    assert server.line.lose_answers == 0
    assert server.rows() == 1


def test_a_wrong_field_is_refused_with_what_is_allowed_and_not_sent_again(client, server):
    with pytest.raises(ApiError) as refused:
        client.submit(PROMPT, width=100)
    assert (refused.value.status, refused.value.field, refused.value.given) == (422, "width", "100")
    assert "64" in str(refused.value.allowed)
    assert server.rows() == 0


def test_a_task_that_failed_says_why(client, server, tmp_path):
    server.failure = Failure("not enough memory for 1920x1088", "out_of_memory", False)
    with pytest.raises(TaskFailed, match="not enough memory") as failed:
        client.generate(PROMPT, tmp_path / "out.mp4", num_inference_steps=2)
    assert failed.value.task.error_code == "out_of_memory"
    assert leftovers(tmp_path) == []


def test_a_place_where_nothing_can_be_saved_is_refused_before_the_submit(client, server, tmp_path):
    for target in (tmp_path, tmp_path / "nowhere" / "out.mp4"):
        with pytest.raises(ClientError):
            client.generate(PROMPT, target)
    assert server.rows() == 0


def test_an_unknown_task_is_refused(client):
    for task_id in ("nothing", "../../health"):
        with pytest.raises(ApiError) as refused:
            client.poll(task_id)
        assert refused.value.status == 404


def test_every_parameter_of_the_server_can_be_asked_for():
    assert set(VideoRequest.model_fields) - {"prompt"} <= set(Options.__annotations__)


def test_what_a_newer_server_adds_is_passed_over():
    body = {"task_id": "a", "status": "completed", "state": "completed", "num_inference_steps": 2, "progress": 1,
            "created_at": 1.0, "model": "m", "mood": "good"}  # fmt: skip
    assert from_json(Task, body).finished


@pytest.mark.parametrize("server", ["ftp://host", "http://", "http://host:port", ""])
def test_an_address_that_is_none_is_refused(server, monkeypatch):
    monkeypatch.setenv("LTX_SERVER", "nonsense://")
    with pytest.raises(ClientError, match="is not a server address"):
        Client(server)
