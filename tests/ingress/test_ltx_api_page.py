"""The commands of docs/ltx-api.md work as they are written, against the app without a GPU."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.ingress.conftest import VIDEO, Box, completing, image_file
from tests.ingress.keys import ALICE, KEYS
from tests.ingress.media import audio_file, frames_of, video_file
from tests.product import ROOT
from tests.test_readme import BASE_URL, FENCE

PAGE = (ROOT / "docs/ltx-api.md").read_text(encoding="utf-8")
STATUSES = {"pending", "processing", "completed"}
RUN_S = 120


def written(language: str, box: Box) -> str:
    """The blocks of one language, with the address of this server and a key that it knows."""
    text = "\n".join(body for name, body in FENCE.findall(PAGE) if name == language)
    return text.replace(BASE_URL, str(box.client.base_url).rstrip("/")).replace("Bearer KEY", f"Bearer {ALICE}")


def run(command: list[str], folder: Path) -> str:
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=RUN_S, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture
def box(served_box: Callable[..., Box]) -> Box:
    return served_box(api_keys=KEYS)


def test_the_curl_commands_of_the_page_work_as_they_stand(box: Box, tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(image_file(640, 360, "JPEG"))
    (tmp_path / "song.wav").write_bytes(audio_file(2.0))
    (tmp_path / "clip.mp4").write_bytes(video_file(frames_of(80), audio_s=3.2))
    with completing(box):
        told = run(["bash", "-euo", "pipefail", "-c", written("bash", box)], tmp_path)
    assert (tmp_path / "waves.mp4").read_bytes() == VIDEO
    answers = [json.loads(each) for each in told.replace("}{", "}\n{").splitlines()]
    assert len(answers) == 5  # two polls and three submits
    assert {each["status"] for each in answers if "status" in each} <= STATUSES
    tasks = box.client.get("/v1/video/tasks", headers={"Authorization": f"Bearer {ALICE}"}).json()["tasks"]
    assert {each["id"] for each in answers} <= {each["task_id"] for each in tasks}
    assert len(tasks) == 6


def test_the_python_program_of_the_page_works(box: Box, tmp_path: Path) -> None:
    """But for its pause between two polls."""
    program = written("python", box).replace("time.sleep(5)", "time.sleep(0.05)")
    assert "sleep(0.05)" in program
    with completing(box):
        assert "/outputs/ltx2_" in run([sys.executable, "-c", program], tmp_path)


def test_every_command_of_the_page_is_run() -> None:
    assert PAGE.count("curl ") == sum(body.count("curl ") for name, body in FENCE.findall(PAGE) if name == "bash")
