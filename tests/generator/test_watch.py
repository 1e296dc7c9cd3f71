import threading

import pytest

from deployments.generator import watch
from deployments.generator.watch import Watch
from models.progress import Stage

LONG_S = 1000.0


def test_a_quiet_watch_ends_nothing() -> None:
    assert Watch(LONG_S, LONG_S).verdict() is None


def test_a_stage_that_says_nothing_for_too_long_ends_the_process() -> None:
    stalled = Watch(0.0, LONG_S)
    stalled.saw(Stage.DENOISING)
    assert "nothing was heard from denoising" in str(stalled.verdict())
    stalled.saw(Stage.LOADING)
    assert stalled.verdict() is None
    stalled.stop()
    assert stalled.verdict() is None


def test_a_broken_gpu_ends_the_process_once_its_task_has_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = Watch(LONG_S, LONG_S)
    broken.broke("CUDA error: device-side assert triggered")
    broken.stop()
    monkeypatch.setattr(watch, "REPORT_GRACE_S", LONG_S)
    assert broken.verdict() is None
    monkeypatch.setattr(watch, "REPORT_GRACE_S", 0.0)
    assert broken.verdict() == "its GPU is broken: CUDA error: device-side assert triggered"


def test_no_task_gets_past_a_broken_gpu() -> None:
    broken = Watch(LONG_S, LONG_S)
    broken.hold_if_broken()
    broken.broke("CUDA error: unspecified launch failure")
    waiting = threading.Thread(target=broken.hold_if_broken, daemon=True)
    waiting.start()
    waiting.join(0.2)
    assert waiting.is_alive()


def test_steps_that_compile_are_allowed_what_a_load_is_until_one_of_their_kind_has_ended() -> None:
    """The first step of a size reports nothing while torch compiles its graphs."""
    compiling = Watch(0.0, LONG_S)
    compiling.saw(Stage.DENOISING)
    assert compiling.verdict() is not None
    compiling.expect_compiling((512, 768))
    for _ in range(2):
        compiling.saw(Stage.DENOISING)
        assert compiling.verdict() is None
    compiling.saw(Stage.DECODING)
    assert "decoding" in str(compiling.verdict())
    compiling.stop()
    compiling.expect_compiling((512, 768))
    compiling.saw(Stage.DENOISING)
    assert "denoising" in str(compiling.verdict())
    compiling.expect_compiling((1088, 1920))
    assert compiling.verdict() is None


def test_a_task_that_broke_off_has_not_compiled_all() -> None:
    compiling = Watch(0.0, LONG_S)
    for _ in range(2):
        compiling.expect_compiling((512, 768))
        compiling.saw(Stage.DENOISING)
        assert compiling.verdict() is None
        compiling.stop()
    compiling.saw(Stage.DENOISING)
    assert compiling.verdict() is not None
