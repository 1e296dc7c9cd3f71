"""Each log line shows the task that it is about, through Serve's own handlers."""

import asyncio
import contextlib
import json
import logging
import threading
from collections.abc import Iterator
from contextvars import copy_context
from dataclasses import replace
from logging.handlers import MemoryHandler
from pathlib import Path

import pytest
from ray.serve._private.common import ServeComponentType
from ray.serve._private.logging_utils import configure_component_logger
from ray.serve.context import _get_serve_request_context, _RequestContext, _serve_request_context
from ray.serve.schema import LoggingConfig

from deployments.observability import log_context
from deployments.observability.logging_setup import configure_system_logging, make_logging_config
from deployments.settings import LogSettings
from models.progress import Stage
from models.request.request import VideoRequest
from storage.tasks import RequestContext, State
from tests.tasks import WAITING

LOGGER = logging.getLogger(log_context.LOGGER)
TASK = replace(
    WAITING,
    id="f00d" * 8,
    state=State.PROCESSING,
    request=VideoRequest(prompt="a lighthouse"),
    claim_token=3,
    attempts=1,
    context=RequestContext(request_id="request-7"),
)


@contextlib.contextmanager
def replica_log(folder: Path, settings: LogSettings) -> Iterator[Path]:
    """The logger as Serve configures it in a replica, and the file that it writes."""
    before = (LOGGER.handlers[:], LOGGER.filters[:], LOGGER.propagate, LOGGER.level)
    LOGGER.handlers = []
    configure(folder, settings)
    log_context.install_filter()
    yield folder / "replica_ltx2_Generator_abc.log"
    close_handlers()
    LOGGER.handlers, LOGGER.filters, LOGGER.propagate = before[0], before[1], before[2]
    LOGGER.setLevel(before[3])


def close_handlers() -> None:
    for handler in LOGGER.handlers:
        if isinstance(handler, MemoryHandler):
            handler.target.close()
        handler.close()


def configure(folder: Path, settings: LogSettings) -> None:
    config = make_logging_config(settings).model_copy(update={"logs_dir": str(folder)})
    configure_component_logger(
        component_name="ltx2_Generator",
        component_id="abc",
        component_type=ServeComponentType.REPLICA,
        logging_config=config,
        max_bytes=1_000_000,
        backup_count=1,
    )


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Path]:
    with replica_log(tmp_path, LogSettings()) as file:
        yield file


def lines(file: Path) -> list[dict]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_a_line_about_a_task_has_its_fields_and_another_line_has_none(log):
    LOGGER.info("before")
    with log_context.bind_task(TASK, Stage.ENCODING):
        LOGGER.info("within")
    LOGGER.info("after")
    before, within, after = lines(log)
    fields = {"task_id": TASK.id, "attempt": 2, "stage": "encoding", "request_id": "request-7"}
    assert within["message"] == "within"
    assert fields.items() <= within.items()
    assert not fields.keys() & (before.keys() | after.keys())


def test_the_stage_is_the_one_that_was_reached_last_also_in_another_thread(log):
    with log_context.bind_task(TASK):
        LOGGER.info("first")
        log_context.set_stage(Stage.LOADING)
        thread = threading.Thread(target=copy_context().run, args=(LOGGER.info, "beside"))
        log_context.set_stage(Stage.DENOISING)
        thread.start()
        thread.join()
    first, beside = lines(log)
    assert "stage" not in first
    assert (beside["stage"], beside["task_id"]) == ("denoising", TASK.id)


def test_tasks_that_run_beside_each_other_keep_their_own_fields(log):
    async def see_through(task_id: str) -> None:
        with log_context.bind_task(replace(TASK, id=task_id)):
            await asyncio.sleep(0)
            await asyncio.to_thread(LOGGER.info, task_id)

    async def both() -> None:
        await asyncio.gather(see_through("one"), see_through("two"))

    asyncio.run(both())
    assert sorted((line["message"], line["task_id"]) for line in lines(log)) == [("one", "one"), ("two", "two")]


def test_the_tasks_request_stands_above_the_call_that_serve_names(log):
    """Serve gives each call between replicas its own id, which cannot be traced to a client."""
    token = _serve_request_context.set(_RequestContext(request_id="a call"))
    try:
        assert _get_serve_request_context().request_id == "a call"
        LOGGER.info("a call's own")
        with log_context.bind_task(TASK):
            LOGGER.info("the task's")
    finally:
        _serve_request_context.reset(token)
    assert [line["request_id"] for line in lines(log)] == ["a call", "request-7"]


def test_the_fields_outlast_a_change_of_serves_logging(log, tmp_path):
    close_handlers()
    configure(tmp_path, LogSettings(level="DEBUG"))
    with log_context.bind_task(TASK):
        LOGGER.debug("still marked")
    assert lines(log)[-1]["task_id"] == TASK.id


def test_an_error_has_its_traceback_in_the_same_line(log):
    with log_context.bind_task(TASK), contextlib.suppress(ValueError):
        try:
            raise ValueError("the cause")
        except ValueError:
            LOGGER.exception("it failed")
            raise
    (line,) = lines(log)
    assert "ValueError: the cause" in line["exc_text"]
    assert line["task_id"] == TASK.id


def test_the_console_and_the_console_format_are_text_for_people(tmp_path, capsys):
    for name in ("json", "console"):
        with replica_log(tmp_path / name, LogSettings(format=name)) as file, log_context.bind_task(TASK):
            LOGGER.info("task %s: rendered", TASK.id)
        assert f"request-7 -- task {TASK.id}: rendered" in capsys.readouterr().err
        assert file.read_text().startswith("{" if name == "json" else "INFO ")


def test_serve_takes_the_level_and_the_encoding():
    assert make_logging_config(LogSettings(format="console", level="ERROR")) == LoggingConfig(
        encoding="TEXT", log_level="ERROR"
    )


def test_a_ray_without_the_private_names_costs_the_format_and_not_the_start(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delattr("ray.serve.context._get_global_client")
    with caplog.at_level("WARNING", logger="ray.serve"):
        configure_system_logging(make_logging_config(LogSettings()))
    assert "_get_global_client" in caplog.text
