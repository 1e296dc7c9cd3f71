"""A Generator as Ray starts it, but without Ray: from a claimed row to a clip."""

import asyncio
import logging
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from deployments.generator import replica_status
from deployments.generator.autoscaling_policy import SUPERSEDED
from deployments.generator.deployment import Generator
from deployments.generator.usage_meter import FLUSH_THRESHOLD_S
from deployments.observability.metrics.definitions import DECODE_RETRIES, GPU_MEMORY_PEAK_BYTES
from deployments.settings import GeneratorSettings, Settings
from models.checkpoint.profile import DISTILLED_SIGMAS
from models.clip import Clip
from models.errors import DoesNotFit, InvalidRequest, ModelUnavailable, RenderFailed, StoreUnavailable, TaskCanceled
from models.ltx2 import load as ltx2_load
from models.ltx2.model import Ltx2Model
from models.memory import offload, sleep_mode, transfer
from models.memory.estimate import GB
from models.memory.offload_plan import OffloadMode, Placement, Sizes
from models.memory.sleep_mode import SleepMode
from models.optimizations.selection import Optimization
from models.progress import Progress, Stage
from models.request.adjustments import visible_to_client
from models.timing import Milestone, TimedStage
from storage.sql.dispatcher_registry import DispatcherRegistration, SqlDispatcherRegistry
from storage.task_store import SqlTaskStore
from storage.tasks import NewTask, ReplicaState, Task
from tests.metrics.recorded import RecordedMetrics
from tests.models.conftest import small
from tests.models.families import add_upsampler

MODEL = "tiny-distilled"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        database_url=f"sqlite:///{tmp_path / 'tasks.db'}",
        outputs={"url": f"file:{tmp_path / 'outputs'}"},
        cache_dir=tmp_path / "cache",
        generator={"checkpoint_type": "distilled"},
    )


def claimed(store: SqlTaskStore) -> Task:
    store.submit(NewTask(small(num_inference_steps=40), MODEL, "http://box"))
    (task,) = store.claim("alice", MODEL, 1, 60)
    return task


def test_a_loaded_model_tells_its_recipe_and_its_room(settings: Settings, store: SqlTaskStore) -> None:
    assert store.served_model(MODEL).profile is None
    Generator(settings, "tiny", MODEL, "cpu").render(claimed(store))
    model_info_writer = store.served_model(MODEL)
    assert model_info_writer.profile is not None
    assert (model_info_writer.profile.tiny, model_info_writer.profile.sigmas) == (True, DISTILLED_SIGMAS)
    assert model_info_writer.free_vram_bytes is None


def test_tasks_start_in_the_order_in_which_they_arrive(settings: Settings, store: SqlTaskStore) -> None:
    generator = Generator(settings, "tiny", MODEL, "cpu")
    tasks = [claimed(store) for _ in range(4)]

    async def render_all() -> None:
        await asyncio.gather(*(generator.generate(task) for task in tasks))

    asyncio.run(render_all())
    started = [store.get(task.id).started_at for task in tasks]
    assert started == sorted(started)


def test_one_thread_renders_all_tasks(settings: Settings, store: SqlTaskStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each thread that renders keeps CPU threads of torch's."""
    generator = Generator(settings, "tiny", MODEL, "cpu")
    threads = []
    render = generator.render

    def render_in_sight(task: Task) -> Clip:
        threads.append(threading.current_thread())
        return render(task)

    monkeypatch.setattr(generator, "render", render_in_sight)
    for _ in range(2):
        asyncio.run(generator.generate(claimed(store)))
    first, second = threads
    assert first is second


def test_a_render_whose_caller_went_away_ends_before_the_next_one_starts(
    settings: Settings, store: SqlTaskStore
) -> None:
    generator = Generator(settings, "tiny", MODEL, "cpu")
    first, second = claimed(store), claimed(store)

    async def leave_the_first() -> Clip:
        left = asyncio.create_task(generator.generate(first))
        waiting = asyncio.create_task(generator.generate(second))
        while store.get(first.id).started_at is None:  # noqa: ASYNC110 - the store has no event
            await asyncio.sleep(0.01)
        left.cancel()
        with pytest.raises(asyncio.CancelledError):
            await left
        assert store.get(second.id).started_at is None
        return await waiting

    clip = asyncio.run(leave_the_first())
    assert clip.frames.shape[0] > 0
    assert store.get(first.id).progress == pytest.approx(1.0, abs=0.2)


def test_what_was_rendered_is_counted_for_its_owner(settings: Settings, store: SqlTaskStore) -> None:
    generator = Generator(settings, "tiny", MODEL, "cpu")
    store.submit(NewTask(small(num_inference_steps=2), MODEL, "http://box", owner="alice"))
    (task,) = store.claim("alice", MODEL, 1, 60)
    started = time.monotonic()
    generator.render(task)
    took_s = time.monotonic() - started
    while not (counted := store.usage()):
        time.sleep(0.02)
    (usage,) = counted
    assert (usage.owner, usage.runs) == ("alice", 1)
    assert 0 < usage.gpu_s < took_s


def test_what_is_rendered_is_counted_while_it_goes_on(settings: Settings, store: SqlTaskStore, monkeypatch) -> None:
    """With the progress reports. The heartbeat writes it too, but comes too late in this test."""
    monkeypatch.setattr(replica_status, "HEARTBEAT_S", 3600.0)
    generator = Generator(settings.model_copy(update={"generator": GeneratorSettings()}), "tiny", MODEL, "cpu")
    store.submit(NewTask(small(num_inference_steps=200), MODEL, "http://box", owner="alice"))
    (task,) = store.claim("alice", MODEL, 1, 60)
    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(generator.render, task)
        while sum(usage.gpu_s for usage in store.usage()) < FLUSH_THRESHOLD_S:
            assert not running.done(), running.exception()
            time.sleep(0.02)
        assert store.cancel(task.id)
        with pytest.raises(TaskCanceled):
            running.result()


def test_a_clip_says_what_making_it_took_and_whether_its_replica_was_cold(
    settings: Settings, store: SqlTaskStore
) -> None:
    recorded = RecordedMetrics()
    generator = Generator(settings, "tiny", MODEL, "cpu", metrics=recorded)
    cold = generator.render(claimed(store)).timings
    assert {TimedStage.LOAD, TimedStage.ENCODE_TEXT, TimedStage.DENOISE, TimedStage.DECODE} <= set(cold.seconds)
    assert all(seconds >= 0 for seconds in cold.seconds.values())
    assert cold.steps == 8
    assert cold.cold_start[Milestone.FIRST_STEP] > 0
    assert recorded.value(GPU_MEMORY_PEAK_BYTES) == 0, "there is no GPU"
    warm = generator.render(claimed(store)).timings
    assert TimedStage.LOAD not in warm.seconds
    assert warm.cold_start == {}


def in_two_stages(store: SqlTaskStore) -> Task:
    store.submit(NewTask(small(height=128, upscale=2), MODEL, "http://box"))
    (task,) = store.claim("alice", MODEL, 1, 60)
    return task


def test_two_stages_run_with_the_upsampler_that_the_settings_name(
    settings: Settings, store: SqlTaskStore, tmp_path: Path
) -> None:
    named = settings.generator.model_copy(update={"latent_upsampler": str(add_upsampler(tmp_path))})
    generator = Generator(settings.model_copy(update={"generator": named}), "tiny", MODEL, "cpu")
    clip = generator.render(in_two_stages(store))
    assert clip.frames.shape == (9, 128, 128, 3)
    assert {TimedStage.DENOISE, TimedStage.UPSCALE, TimedStage.REFINE, TimedStage.DECODE} <= set(clip.timings.seconds)
    assert clip.timings.steps == 8
    profile = store.served_model(MODEL).profile
    assert profile is not None
    assert profile.upsampler is True


def test_two_stages_without_an_upsampler_fail_with_what_the_operator_has_to_do(
    settings: Settings, store: SqlTaskStore
) -> None:
    with pytest.raises(InvalidRequest, match=r"upscale must be none: .*generator\.latent_upsampler"):
        Generator(settings, "tiny", MODEL, "cpu").render(in_two_stages(store))


def test_a_decode_that_ran_out_of_memory_is_counted_and_logged(
    settings: Settings, store: SqlTaskStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    recorded = RecordedMetrics()
    generator = Generator(settings, "tiny", MODEL, "cpu", metrics=recorded)
    generator.render(claimed(store))
    assert recorded.value(DECODE_RETRIES) == 0
    assert generator._model_manager.model is not None
    vae: Any = generator._model_manager.model._text_to_video.vae
    plain = vae.decode

    def run_out_unless_tiled(*args: Any, **options: Any) -> Any:
        if not vae.use_tiling:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return plain(*args, **options)

    monkeypatch.setattr(vae, "decode", run_out_unless_tiled)
    monkeypatch.setattr(logging.getLogger("ray.serve"), "propagate", True)
    generator.render(claimed(store))
    assert recorded.value(DECODE_RETRIES) == 1
    assert "was decoded again: video, in tiles" in caplog.text


def test_what_a_distilled_model_cannot_use_stands_in_the_row(settings: Settings, store: SqlTaskStore) -> None:
    task = claimed(store)
    Generator(settings, "tiny", MODEL, "cpu").render(task)
    row = store.get(task.id)
    assert row is not None
    assert row.rendered_request.num_inference_steps == 8
    assert "num_inference_steps" in [each.field for each in row.adjustments]
    assert row.request == task.request


def test_a_prompt_that_is_too_long_is_said_in_the_row_and_stays_as_it_is(
    settings: Settings, store: SqlTaskStore
) -> None:
    store.submit(NewTask(small(prompt="x" * 2000), MODEL, "http://box"))
    (task,) = store.claim("alice", MODEL, 1, 60)
    Generator(settings, "tiny", MODEL, "cpu").render(task)
    row = store.get(task.id)
    assert row is not None
    assert ("prompt", "2001 tokens") in [(each.field, each.given) for each in visible_to_client(row.adjustments)]
    assert row.rendered_request.prompt == task.request.prompt


def test_the_log_has_the_time_line_of_a_cold_start(
    settings: Settings, store: SqlTaskStore, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "ray.serve")
    generator = Generator(settings, "tiny", MODEL, "cpu")
    generator.render(claimed(store))
    assert "recipe: LTX-2, distilled: 8 steps without guidance" in caplog.messages
    (line,) = [message for message in caplog.messages if message.startswith("cold start: ")]
    wanted = ("process", "replica", "task", "imported", "built", "placed", "first_step")
    assert all(f" {mark} " in line for mark in wanted)
    assert set(wanted) <= set(generator._model_manager.timeline.milestones)


@pytest.fixture(autouse=True)
def host_memory_for_a_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulate enough host memory, whatever the test machine has free."""
    monkeypatch.setattr(sleep_mode, "free_host_bytes", lambda: 1000 * GB)


def stand_on_a_gpu(model: Ltx2Model) -> None:
    """Make a model's weights move in sleep mode as on a GPU. The CPU replaces the GPU."""
    resident = Placement(OffloadMode.NONE, gpu_bytes=0, host_bytes=0)
    model.sleep_mode = SleepMode(model._text_to_video, resident, device="cpu")


def model_on_a_gpu(generator: Generator) -> Ltx2Model:
    """The Generator's loaded model, prepared in this way."""
    model = generator._model_manager.model
    assert model is not None
    stand_on_a_gpu(model)
    return model


def sleepers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "sleeper"]


def wait_for(store: SqlTaskStore, state: ReplicaState) -> None:
    while [replica.state for replica in store.live_replicas()] != [state]:
        time.sleep(0.01)


def test_an_idle_replica_sleeps_and_the_next_task_wakes_it(settings: Settings, store: SqlTaskStore) -> None:
    sleepy = settings.generator.model_copy(update={"sleep_after_idle_s": 0.0})
    generator = Generator(settings.model_copy(update={"generator": sleepy}), "tiny", MODEL, "cpu")
    before = generator.render(claimed(store))
    model = generator._model_manager.model
    assert model is not None
    with generator._gpu_lock.acquire():
        stand_on_a_gpu(model)
    wait_for(store, ReplicaState.SLEEPING)
    after = generator.render(claimed(store))
    assert np.array_equal(before.frames, after.frames)
    wait_for(store, ReplicaState.SLEEPING)
    generator._gpu_lock.close()
    for thread in sleepers():
        thread.join()


def test_a_task_that_is_canceled_before_the_model_is_awake_leaves_it_to_the_next(
    settings: Settings, store: SqlTaskStore
) -> None:
    generator = Generator(settings, "tiny", MODEL, "cpu")
    before = generator.render(claimed(store))
    model = model_on_a_gpu(generator)
    generator._model_manager.sleep(lambda: False)
    assert model.asleep

    def canceled(_progress: Progress) -> None:
        raise TaskCanceled("the task was canceled")

    with pytest.raises(TaskCanceled):
        generator._model_manager.get_or_load(canceled)
    assert model.asleep
    assert generator._replica_status.state is ReplicaState.SLEEPING
    after = generator.render(claimed(store))
    assert not model.asleep
    assert np.array_equal(before.frames, after.frames)


def test_a_wake_that_fails_is_its_tasks_error_and_the_next_task_tries_again(
    settings: Settings, store: SqlTaskStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = Generator(settings, "tiny", MODEL, "cpu")
    before = generator.render(claimed(store))
    model = model_on_a_gpu(generator)
    generator._model_manager.sleep(lambda: False)
    with monkeypatch.context() as patched:
        patched.setattr(transfer, "to_device", fail_with(torch.OutOfMemoryError("CUDA out of memory")))
        with pytest.raises(ModelUnavailable, match="another process may use it"):
            generator.render(claimed(store))
    assert (model.asleep, generator._watch.failure_reason()) == (True, None)
    (replica,) = store.live_replicas()
    assert replica.state is ReplicaState.FAILED
    assert "another process may use it" in replica.message
    assert np.array_equal(before.frames, generator.render(claimed(store)).frames)
    assert generator._replica_status.state is ReplicaState.READY


def test_a_replica_that_is_called_back_before_a_weight_has_moved_is_ready(
    settings: Settings, store: SqlTaskStore
) -> None:
    generator = Generator(settings, "tiny", MODEL, "cpu")
    generator.render(claimed(store))
    model = model_on_a_gpu(generator)
    generator._model_manager.sleep(lambda: True)
    assert (model.asleep, generator._replica_status.state) == (False, ReplicaState.READY)


def test_one_whose_first_weight_cannot_move_is_ready_and_renders(
    settings: Settings, store: SqlTaskStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = Generator(settings, "tiny", MODEL, "cpu")
    generator.render(claimed(store))
    model = model_on_a_gpu(generator)
    with monkeypatch.context() as patched:
        patched.setattr(transfer, "to_host", fail_with(RuntimeError("no pinned memory")))
        generator._sleep(lambda: False)
    assert (model.asleep, generator._replica_status.state) == (False, ReplicaState.READY)
    generator.render(claimed(store))


def test_a_replica_that_hangs_on_its_way_to_sleep_is_heard_of(settings: Settings, store: SqlTaskStore) -> None:
    generator = Generator(settings, "tiny", MODEL, "cpu")
    verdicts: list[str | None] = []

    class HangingModel(BrokenModel):
        def can_sleep(self) -> bool:
            generator._watch._timeouts_s[Stage.LOADING] = -1.0
            verdicts.append(generator._watch.failure_reason())
            return False

    generator._model_manager.model = HangingModel()  # type: ignore[assignment]
    generator._sleep(lambda: False)
    assert verdicts[0] is not None
    assert generator._watch.failure_reason() is None


@pytest.mark.parametrize("moment", ["to_host", "to_device"])
def test_a_gpu_that_breaks_while_weights_move_dooms_the_replica(
    settings: Settings, store: SqlTaskStore, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    generator = Generator(settings, "tiny", MODEL, "cpu")
    generator.render(claimed(store))
    model_on_a_gpu(generator)
    monkeypatch.setattr(transfer, moment, fail_with(torch.AcceleratorError(ILLEGAL)))
    generator._sleep(lambda: False)
    if moment == "to_device":
        with pytest.raises(ModelUnavailable, match="illegal memory access"):
            generator.render(claimed(store))
    assert generator._watch._broken is not None
    assert ILLEGAL in generator._watch._broken[0]


def test_a_gpu_that_breaks_while_the_model_loads_dooms_the_replica(
    settings: Settings, store: SqlTaskStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = Generator(settings, "tiny", MODEL, "cpu")
    monkeypatch.setattr(offload, "apply", fail_with(torch.AcceleratorError(ILLEGAL)))
    with pytest.raises(ModelUnavailable, match="illegal memory access"):
        generator.render(claimed(store))
    assert generator._watch._broken is not None


def test_a_load_without_room_leaves_nothing_behind_and_the_next_task_loads(
    settings: Settings, store: SqlTaskStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = Generator(settings, "tiny", MODEL, "cpu")
    built: list[weakref.ref[object]] = []

    def run_out(pipe: Any, *_: object, **_options: object) -> None:
        built.append(weakref.ref(pipe.transformer))
        raise torch.OutOfMemoryError("CUDA out of memory")

    with monkeypatch.context() as patched:
        patched.setattr(offload, "apply", run_out)
        with pytest.raises(ModelUnavailable, match="not enough memory to load"):
            generator.render(claimed(store))
    there: list[object] = []
    plain = ltx2_load.measure_sizes

    def look(folder: Path, dtype: str, upsampler: Path | None) -> Sizes:
        there.append(built[0]())
        return plain(folder, dtype, upsampler)

    monkeypatch.setattr(ltx2_load, "measure_sizes", look)
    generator.render(claimed(store))
    assert there == [None]


def test_a_store_that_is_away_loses_no_model_that_has_loaded(
    settings: Settings, store: SqlTaskStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = Generator(settings, "tiny", MODEL, "cpu")
    with monkeypatch.context() as patched:
        patched.setattr(generator._tasks, "record_model", fail_with(StoreUnavailable("the database is away")))
        generator.render(claimed(store))
    assert generator._model_manager.model is not None
    assert store.served_model(MODEL).profile is None
    generator._on_heartbeat()
    assert store.served_model(MODEL).profile is not None


def fail_with(error: Exception) -> Callable[..., None]:
    def fail(*_args: object, **_options: object) -> None:
        raise error

    return fail


def test_on_a_cpu_an_idle_replica_stays_ready(settings: Settings, store: SqlTaskStore) -> None:
    generator = Generator(settings, "tiny", MODEL, "cpu")
    generator.render(claimed(store))
    assert not sleepers()
    generator._model_manager.sleep(lambda: False)
    assert [replica.state for replica in store.live_replicas()] == [ReplicaState.READY]


def test_a_length_that_the_model_chose_stands_in_the_row(settings: Settings, store: SqlTaskStore) -> None:
    generator = Generator(settings, "tiny", MODEL, "cpu")
    store.submit(NewTask(small(num_frames=49, length="auto"), MODEL, "http://box"))
    (task,) = store.claim("alice", MODEL, 1, 60)
    generator._model_manager.model = ChoosingModel()  # type: ignore[assignment]
    generator.render(task)
    row = store.get(task.id)
    assert row is not None
    assert (row.request.num_frames, row.rendered_request.num_frames) == (49, 25)
    assert visible_to_client(row.adjustments) == []


ILLEGAL = "CUDA error: an illegal memory access was encountered"


class BrokenModel:
    """Fails like torch after a kernel's illegal memory access."""

    asleep = False
    free_vram_bytes = None
    renders_noise_on_cpu = False
    fast_summary = ""
    optimizations = frozenset[Optimization]()
    decoded_again = ()

    def find_adjustments(self, _request: object) -> tuple[()]:
        return ()

    def render(self, *_args: object) -> None:
        cause = RuntimeError(ILLEGAL)
        raise RenderFailed("the model failed") from cause


def test_a_cuda_error_that_lasts_fails_its_task_and_dooms_the_replica(settings: Settings, store: SqlTaskStore) -> None:
    generator = Generator(settings, "tiny", MODEL, "cpu")
    generator._model_manager.model = BrokenModel()  # type: ignore[assignment]
    with pytest.raises(RenderFailed):
        generator.render(claimed(store))
    assert generator._watch._broken is not None
    assert "illegal memory access" in generator._watch._broken[0]


def test_what_does_not_fit_fails_before_it_renders_and_names_what_does(settings: Settings, store: SqlTaskStore) -> None:
    generator = Generator(settings, "tiny", MODEL, "cpu")
    store.submit(NewTask(small(height=1088, width=1920, num_frames=121), MODEL, "http://box"))
    (task,) = store.claim("alice", MODEL, 1, 60)
    generator._model_manager.model = FullModel()  # type: ignore[assignment]
    with pytest.raises(DoesNotFit, match="1920x1088 with ") as refused:
        generator.render(task)
    assert max(shape["num_frames"] for shape in refused.value.nearest) == 121


def test_the_tiny_model_refuses_what_does_not_fit_into_the_host(settings: Settings, store: SqlTaskStore) -> None:
    generator = Generator(settings, "tiny", MODEL, "cpu")
    limits = {"max_side_px": 64_000, "max_total_pixels": 10**13}
    generator._settings = settings.model_copy(update={"limits": settings.limits.model_copy(update=limits)})
    store.submit(NewTask(small(height=64_000, width=64_000, num_frames=121), MODEL, "http://box"))
    (task,) = store.claim("alice", MODEL, 1, 60)
    model = BrokenModel()
    model.renders_noise_on_cpu = True
    generator._model_manager.model = model  # type: ignore[assignment]
    with pytest.raises(DoesNotFit, match="what fits into the host's memory"):
        generator.render(task)


class FullModel(BrokenModel):
    """Has little free memory."""

    free_vram_bytes = 8 * GB


class ChoosingModel(BrokenModel):
    """Has a duration head, and makes 25 frames for any prompt."""

    def render(self, *_args: object) -> Clip:
        return Clip(np.zeros((25, 64, 64, 3), np.uint8), np.zeros((2, 100), np.float32), 48_000, Fraction(25))


def test_a_generator_reports_with_its_heartbeat_that_a_newer_server_runs(
    settings: Settings, store: SqlTaskStore, monkeypatch
) -> None:
    monkeypatch.setattr(replica_status, "HEARTBEAT_S", 0.02)
    apps = SqlDispatcherRegistry(store._engine)
    mine, newer = apps.register(), apps.register()
    generator = Generator(settings, "tiny", MODEL, "cpu", app=mine)
    apps.heartbeat(DispatcherRegistration("new", newer, MODEL, ready=True), 60)
    while generator.record_autoscaling_stats() != {SUPERSEDED: 1.0}:
        time.sleep(0.01)
    apps.deregister("new")
    while generator.record_autoscaling_stats() != {SUPERSEDED: 0.0}:
        time.sleep(0.01)
