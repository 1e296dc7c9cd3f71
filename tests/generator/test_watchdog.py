import threading

import pytest

from deployments.generator import watchdog
from deployments.generator.watchdog import Watchdog
from models.progress import Stage

LONG_S = 1000.0


def test_a_quiet_watch_ends_nothing() -> None:
    assert Watchdog(LONG_S, LONG_S).failure_reason() is None


def test_a_stage_that_says_nothing_for_too_long_ends_the_process() -> None:
    stalled = Watchdog(0.0, LONG_S)
    stalled.feed(Stage.DENOISING)
    assert "denoising has not reported" in str(stalled.failure_reason())
    stalled.feed(Stage.LOADING)
    assert stalled.failure_reason() is None
    stalled.stop()
    assert stalled.failure_reason() is None


def test_a_broken_gpu_ends_the_process_once_its_task_has_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = Watchdog(LONG_S, LONG_S)
    broken.mark_broken("CUDA error: device-side assert triggered")
    broken.stop()
    monkeypatch.setattr(watchdog, "REPORT_GRACE_S", LONG_S)
    assert broken.failure_reason() is None
    monkeypatch.setattr(watchdog, "REPORT_GRACE_S", 0.0)
    assert broken.failure_reason() == "its GPU is broken: CUDA error: device-side assert triggered"


def test_no_task_gets_past_a_broken_gpu() -> None:
    broken = Watchdog(LONG_S, LONG_S)
    broken.block_if_broken()
    broken.mark_broken("CUDA error: unspecified launch failure")
    waiting = threading.Thread(target=broken.block_if_broken, daemon=True)
    waiting.start()
    waiting.join(0.2)
    assert waiting.is_alive()


def test_steps_that_compile_are_allowed_what_a_load_is_until_one_of_their_kind_has_ended() -> None:
    """The first step of a size reports nothing while torch compiles its graphs."""
    compiling = Watchdog(0.0, LONG_S)
    compiling.feed(Stage.DENOISING)
    assert compiling.failure_reason() is not None
    compiling.expect_compiling((512, 768))
    for _ in range(2):
        compiling.feed(Stage.DENOISING)
        assert compiling.failure_reason() is None
    compiling.feed(Stage.DECODING)
    assert "decoding" in str(compiling.failure_reason())
    compiling.stop()
    compiling.expect_compiling((512, 768))
    compiling.feed(Stage.DENOISING)
    assert "denoising" in str(compiling.failure_reason())
    compiling.expect_compiling((1088, 1920))
    assert compiling.failure_reason() is None


def test_a_task_that_broke_off_has_not_compiled_all() -> None:
    compiling = Watchdog(0.0, LONG_S)
    for _ in range(2):
        compiling.expect_compiling((512, 768))
        compiling.feed(Stage.DENOISING)
        assert compiling.failure_reason() is None
        compiling.stop()
    compiling.feed(Stage.DENOISING)
    assert compiling.failure_reason() is not None
