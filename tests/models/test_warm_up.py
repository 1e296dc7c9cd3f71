"""Promise: imports and prefetch start with the process, and no error in them ends it."""

import importlib.util
import sys
from pathlib import Path

import pytest

from models.names import TINY
from models.startup import prefetch
from models.startup.warm_up import WarmUp, hide_modules
from models.timing import ColdStartTimeline, Milestone


def test_what_is_hidden_is_there_again_afterwards() -> None:
    assert "this" not in sys.modules
    with hide_modules(["this"]):
        assert importlib.util.find_spec("this") is None
        with pytest.raises(ModuleNotFoundError):
            import this  # noqa: F401
    assert importlib.util.find_spec("this") is not None


def test_what_is_imported_already_is_not_hidden() -> None:
    with hide_modules(["json"]):
        assert sys.modules["json"] is not None


def test_both_ways_are_marked(cache_dir: Path, tiny_folder: Path) -> None:
    timeline = ColdStartTimeline()
    warm_up = WarmUp(TINY, cache_dir, "cpu", timeline)
    warm_up.start()
    warm_up.wait_for_imports()
    warm_up._reads.join()
    assert {Milestone.IMPORTED, Milestone.READ} <= set(timeline.milestones)


def test_a_model_that_is_no_model_is_left_to_the_load(tmp_path: Path) -> None:
    timeline = ColdStartTimeline()
    warm_up = WarmUp("no such folder", tmp_path, "cpu", timeline)
    warm_up.start()
    warm_up.wait_for_imports()
    warm_up._reads.join()
    assert Milestone.READ not in timeline.milestones


def test_files_that_may_not_be_read_are_left_to_the_load(
    cache_dir: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(piece: prefetch.FileRange, _ended: object) -> int:
        raise PermissionError(13, "Permission denied", str(piece.path))

    monkeypatch.setattr(prefetch, "_read", refuse)
    timeline = ColdStartTimeline()
    warm_up = WarmUp(TINY, cache_dir, "cpu", timeline)
    warm_up._read()
    assert Milestone.READ not in timeline.milestones
    assert "the weights could not be prefetched: [Errno 13] Permission denied" in caplog.text


def test_imports_that_were_never_begun_are_not_waited_for(tmp_path: Path) -> None:
    WarmUp(TINY, tmp_path, "cpu", ColdStartTimeline()).wait_for_imports()
