"""Promise: a request that cannot fit is rejected at once, with alternatives. An estimate says the same."""

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import update

from models.checkpoint.profile import DISTILLED_SIGMAS, CheckpointProfile, choose_profile
from models.memory.estimate import GB, estimate_peak
from models.names import TINY_MODEL_NAME
from models.progress import Progress, Stage
from models.request.request import VideoRequest
from storage.db.schema import tasks
from storage.inputs import unpack_inputs
from storage.tasks import GeneratorReplica, ReplicaState, ServedModel, State
from tests.ingress.conftest import MODEL, PROMPT, Box, image_file
from tests.ingress.media import frames_of, video_file

LTX_2 = choose_profile({})
DISTILLED = replace(LTX_2, sigmas=DISTILLED_SIGMAS)
LARGE = {"prompt": PROMPT, "height": 1088, "width": 1920, "num_frames": 121}
SMALL = {"prompt": PROMPT, "height": 256, "width": 384, "num_frames": 25}
ROOM_BYTES = 9 * GB
"""Free memory on a GPU on which the large request does not fit."""
SUBMITS = ["/v1/video/async_t2v", "/v1/video/t2v", "/v1/videos"]


def loaded(
    box: Box, free_vram_bytes: int | None = ROOM_BYTES, profile: CheckpointProfile = LTX_2, model: str = MODEL
) -> None:
    """Record the model like a Generator that has loaded it."""
    box.tasks.record_model(ServedModel(model, profile, free_vram_bytes))


def estimated(box: Box, **fields: Any) -> dict[str, Any]:
    answer = box.client.post("/v1/video/estimate", json=fields)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


@pytest.mark.parametrize("path", SUBMITS)
def test_what_cannot_fit_is_a_422_at_every_door(box: Box, path: str) -> None:
    loaded(box)
    answer = box.client.post(path, json=LARGE)
    assert answer.status_code == 422
    assert "does_not_fit" in answer.text
    assert "1920x1088 with " in answer.text
    assert box.tasks.page(frozenset(State), 1) == []


def test_the_refusal_names_sizes_and_lengths_that_are_taken(box: Box) -> None:
    loaded(box)
    refusal = box.client.post("/v1/video/async_t2v", json=LARGE).json()
    assert (refusal["error_code"], refusal["retryable"]) == ("does_not_fit", False)
    shorter, smaller = refusal["nearest"]
    assert (shorter["height"], shorter["width"]) == (1088, 1920)
    assert smaller["num_frames"] == 121
    for shape in (shorter, smaller):
        assert box.client.post("/v1/video/async_t2v", json={**LARGE, **shape}).status_code == 200


def test_an_image_that_does_not_fit_with_its_task_is_not_kept(box: Box) -> None:
    loaded(box)
    form = {name: str(value) for name, value in LARGE.items()}
    answer = box.client.post("/v1/video/async_i2v", data=form, files={"image": ("a.png", image_file(), "image/png")})
    assert answer.status_code == 422
    assert not list((box.folder / "store").rglob("inputs/*"))


def test_a_form_with_an_image_takes_more_than_without(box: Box) -> None:
    text = box.client.post("/v1/video/estimate", data={"prompt": PROMPT}, files={"nothing": b""}).json()
    image = box.client.post("/v1/video/estimate", data={"prompt": PROMPT}, files={"image": image_file()}).json()
    assert image["gb"] > text["gb"]
    assert text == estimated(box, prompt=PROMPT)


def test_an_estimate_says_what_a_submit_would_and_makes_nothing(box: Box) -> None:
    loaded(box)
    refused, taken = estimated(box, **LARGE), estimated(box, **SMALL)
    peak = estimate_peak(VideoRequest.model_validate(LARGE))
    assert (refused["fits"], refused["gb"]) == (False, round(peak.bytes / GB, 1))
    assert refused["nearest"] == box.client.post("/v1/video/async_t2v", json=LARGE).json()["nearest"]
    assert (taken["fits"], taken["nearest"]) == (True, [])
    assert box.tasks.page(frozenset(State), 1) == []
    assert box.nudges == []


def test_before_a_generator_has_loaded_everything_is_taken_to_fit(box: Box) -> None:
    answer = estimated(box, **LARGE)
    assert (answer["fits"], answer["seconds"]) == (True, None)
    assert answer["gb"] > ROOM_BYTES / GB
    assert box.client.post("/v1/video/async_t2v", json=LARGE).status_code == 200


def test_without_a_gpu_there_is_no_figure(box: Box) -> None:
    loaded(box, free_vram_bytes=None)
    assert estimated(box, **LARGE) == {"fits": True, "gb": None, "seconds": None, "nearest": []}


def test_the_tiny_model_has_no_figure_before_it_has_loaded(open_box) -> None:
    assert estimated(open_box(model=TINY_MODEL_NAME), **LARGE)["gb"] is None


def test_a_measure_into_which_nothing_fits_refuses_nothing(box: Box) -> None:
    loaded(box, free_vram_bytes=1)
    assert estimated(box, **SMALL)["fits"]
    assert box.client.post("/v1/video/async_t2v", json=SMALL).status_code == 200


def test_the_seconds_are_those_of_tasks_that_ended(box: Box) -> None:
    box.submit(**{name: value for name, value in SMALL.items() if name != "prompt"})
    box.complete(box.start())
    task = box.tasks.page([State.COMPLETED], 1)[0]
    assert task.started_at is not None
    assert task.finished_at is not None
    assert estimated(box, **SMALL)["seconds"] == round(task.finished_at - task.started_at, 1)


@pytest.mark.parametrize("fields", [{"height": 100}, {"prompt": " "}, {"webhook_url": "https://a.example"}])
def test_an_estimate_refuses_what_a_submit_refuses(box: Box, fields: dict[str, object]) -> None:
    same = {"prompt": PROMPT, **fields}
    estimate, submit = (box.client.post(path, json=same) for path in ("/v1/video/estimate", "/v1/video/async_t2v"))
    assert estimate.status_code == 422
    assert estimate.json() == submit.json()


@pytest.mark.parametrize("image", [b"no image", b"", image_file()[:100], image_file(2000, 2000)])
def test_an_estimate_refuses_the_images_that_a_submit_refuses(open_box, image: bytes) -> None:
    box = open_box(limits={"max_image_bytes": 5000})
    form = {"data": {"prompt": PROMPT}, "files": {"image": ("a.png", image, "image/png")}}
    estimate, submit = (box.client.post(path, **form) for path in ("/v1/video/estimate", "/v1/video/async_i2v"))
    assert estimate.status_code in (413, 422)
    assert (estimate.status_code, estimate.json()) == (submit.status_code, submit.json())


def test_an_image_that_chooses_the_size_is_estimated_at_that_size(box: Box) -> None:
    loaded(box, 7 * GB)
    form = {"data": {"prompt": PROMPT, "fit": "match"}, "files": {"image": ("a.png", image_file(640, 640))}}
    estimate = box.client.post("/v1/video/estimate", **form).json()
    refused = box.client.post("/v1/video/async_i2v", **form).json()
    assert (estimate["fits"], estimate["nearest"]) == (False, refused["nearest"])
    shorter = estimate["nearest"][0]
    assert shorter["height"] == shorter["width"]


def test_the_generator_with_least_room_speaks_for_all_that_live(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deployments.ingress.model_info.CACHE_TTL_S", 0.0)
    for name, room_gb in (("small", 9), ("large", 40)):
        box.tasks.put_replica(GeneratorReplica(name, MODEL, ReplicaState.READY, free_vram_bytes=room_gb * GB))
        loaded(box, room_gb * GB)
    assert not estimated(box, **LARGE)["fits"]
    box.tasks.delete_replica("small")
    assert estimated(box, **LARGE)["fits"]
    box.tasks.delete_replica("large")
    assert not estimated(box, **LARGE)["fits"], "who comes next may be the small one"


def test_the_seconds_do_not_count_the_way_to_a_loaded_model(box: Box) -> None:
    size = {name: value for name, value in SMALL.items() if name != "prompt"}
    box.submit(**size)
    task = box.start()
    box.tasks.report_progress(task, Progress(Stage.DOWNLOADING))
    age(box, 600)
    box.tasks.report_progress(task, Progress(Stage.DENOISING))
    box.complete(task)
    assert estimated(box, **SMALL)["seconds"] < 100


def test_work_without_guidance_is_estimated_by_its_share_of_the_evaluations(box: Box) -> None:
    """A quarter of the transformer calls, and the same decode."""
    size = {name: value for name, value in SMALL.items() if name != "prompt"}
    complete_after(box, 1000, decoding_s=100, **size)
    unguided = {"cfg_scale_video": 1, "cfg_scale_audio": 1, "stg_scale_video": 0, "modality_scale": 1}
    assert estimated(box, **SMALL)["seconds"] == pytest.approx(1000, rel=0.05)
    assert estimated(box, **SMALL, **unguided)["seconds"] == pytest.approx(100 + 900 / 4, rel=0.15)
    assert estimated(box, **SMALL, quality="fast")["seconds"] == pytest.approx(100 + 900 * 0.625, rel=0.05)


def complete_after(box: Box, seconds: float, *, decoding_s: float, **fields: object) -> None:
    """Complete a task that took this number of seconds, the last of them for decoding."""
    box.submit(**fields)
    task = box.start()
    age(box, seconds)
    box.complete(task)
    with box.tasks._engine.begin() as connection:
        connection.execute(update(tasks).values(decoding_at=tasks.c.finished_at - decoding_s))


def age(box: Box, seconds: float) -> None:
    """Move the start of the running task back by this number of seconds."""
    with box.tasks._engine.begin() as connection:
        connection.execute(update(tasks).values(started_at=tasks.c.started_at - seconds))


def test_a_distilled_model_is_estimated_without_guidance(open_box) -> None:
    guided, distilled = open_box(), open_box()
    loaded(guided)
    loaded(distilled, profile=DISTILLED)
    assert estimated(distilled, **LARGE)["gb"] < estimated(guided, **LARGE)["gb"]


def test_an_estimate_of_a_retake_counts_what_is_rendered(box):
    """Each use has its fields, and the size and length are those of the result."""
    body = {"prompt": PROMPT, "num_frames": 121}
    for fields in ({"use": "a2v"}, {"use": "retake", "start_time": 1, "duration": 1}, {"use": "extend", "duration": 2}):
        answer = box.client.post("/v1/video/estimate", json={**body, **fields})
        assert answer.status_code == 200, answer.text
        assert answer.json()["gb"] > box.client.post("/v1/video/estimate", json=body).json()["gb"], fields
    for fields, field in (
        ({"use": "remix"}, "use"),
        ({"use": "retake", "start_time": 9}, "start_time"),
        ({"use": "extend"}, "duration"),
        ({"use": "extend", "duration": 6}, "duration"),
    ):
        answer = box.client.post("/v1/video/estimate", json={**body, **fields})
        assert (answer.status_code, answer.json()["field"]) == (422, field)


def test_an_estimate_for_audio_is_that_of_a_video_as_long_as_the_audio(box):
    """As a submit has it: what is longer than the limits allow is cut, and what is too short is refused."""
    for audio_s, num_frames in ((4, 100), (3.02, 76), (20, 481)):
        told = estimated(box, prompt=PROMPT, use="a2v", duration=audio_s, num_frames=9, frame_rate=25)
        assert told == estimated(box, prompt=PROMPT, use="a2v", num_frames=num_frames, frame_rate=25)
    answer = box.client.post("/v1/video/estimate", json={"prompt": PROMPT, "use": "a2v", "duration": 0.1})
    assert (answer.status_code, answer.json()["field"]) == (422, "duration")


def test_an_edit_gets_as_much_context_as_fits_in_memory(box):
    """The whole source does not fit, a part of it does; an estimate says the same."""
    loaded(box, int(6.4 * GB))
    result = {"prompt": PROMPT, "num_frames": 481, "frame_rate": 25, "height": 256, "width": 256}
    assert not estimated(box, **result, use="retake")["fits"]
    assert estimated(box, **result, use="extend", duration=1)["fits"]
    source = box.finished(video_file(frames_of(456, 256, 256)))
    body = {"prompt": PROMPT, "source_task": source}
    answer = box.client.post("/v1/video/async_extend", json={**body, "duration": 1})
    assert answer.status_code == 200, answer.text
    task = box.row(answer.json()["task_id"])
    edit = unpack_inputs(b"".join(box.outputs.open(task.input_key))).source.edit
    assert task.request.num_frames == 481
    assert 24 <= edit.context < 456
    refused = box.client.post("/v1/video/async_retake", json=body)
    assert refused.json()["error_code"] == "does_not_fit"
