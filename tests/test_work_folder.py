"""Folders for temporary files: a killed process leaves its own, and the next process deletes it."""

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from deployments.work_folder import PREFIX, delete_abandoned_folders, work_folder

HOLD = """
import sys
from deployments.work_folder import work_folder
with work_folder() as folder:
    (folder / "upload").write_bytes(b"a video")
    print(folder, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_a_folder_goes_with_its_files(temporary: Path) -> None:
    with work_folder() as folder:
        assert folder.parent == temporary
        (folder / "upload").write_bytes(b"a video")
    assert list(temporary.iterdir()) == []


def test_a_folder_that_its_user_deleted_is_no_error(temporary: Path) -> None:
    with work_folder() as folder:
        folder.rmdir()
    assert list(temporary.iterdir()) == []


def test_the_folder_of_a_killed_process_is_deleted_and_those_in_use_stay(temporary: Path) -> None:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    holder = subprocess.Popen([sys.executable, "-c", HOLD], env={"TMPDIR": str(temporary)}, text=True, **pipes)
    with holder, work_folder() as own:
        assert holder.stdout is not None
        held = Path(holder.stdout.readline().strip())
        delete_abandoned_folders()
        assert (held.parent, held.is_dir(), own.is_dir()) == (temporary, True, True)
        holder.kill()
        holder.wait()
        assert (held / "upload").exists()
        delete_abandoned_folders()
        assert (held.exists(), own.is_dir()) == (False, True)


def test_what_is_no_folder_of_this_server_is_left_alone(temporary: Path) -> None:
    precious = temporary / "precious"
    precious.mkdir()
    (temporary / f"{PREFIX}file").write_text("x")
    (temporary / f"{PREFIX}link").symlink_to(precious)
    (temporary / "ltx2-of-an-earlier-version").mkdir()
    before = sorted(temporary.iterdir())
    delete_abandoned_folders()
    assert sorted(temporary.iterdir()) == before
