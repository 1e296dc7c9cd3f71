import io
import json
import subprocess
from pathlib import Path

from PIL import Image

from tests.e2e.checks import eventually
from tests.e2e.server import TASK_TIMEOUT_S, Server
from tests.ingress.media import audio_file
from tests.product import ROOT
from tests.test_readme import BASE_URL, FENCE, api_commands


def run(script: str, folder: Path) -> str:
    """What the commands write, in one shell that ends at the first failure."""
    command = ["bash", "-euo", "pipefail", "-c", script]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=TASK_TIMEOUT_S, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_the_commands_of_the_readme_work_as_they_stand(server: Server, tmp_path: Path) -> None:
    """In order and in one shell, as the README says, with the port of this server."""
    run("\n".join(api_commands(server.url)), tmp_path)
    for video in ("sunset.mp4", "animated.mp4"):
        assert (tmp_path / video).read_bytes()[4:8] == b"ftyp"
    assert (tmp_path / "photo.jpg").read_bytes().startswith(b"\xff\xd8")


def test_the_commands_with_several_images_work_as_they_stand(server: Server, tmp_path: Path) -> None:
    """Those of docs/api.md. Each video ends, and the input files end with their tasks."""
    page = (ROOT / "docs/api.md").read_text(encoding="utf-8")
    commands, *_ = [body for language, body in FENCE.findall(page) if language == "bash"]
    for name, color in (("day", "skyblue"), ("night", "midnightblue"), ("clouds", "gray")):
        buffer = io.BytesIO()
        Image.new("RGB", (600, 400), color).save(buffer, "JPEG")
        (tmp_path / f"{name}.jpg").write_bytes(buffer.getvalue())
    told = run(commands.replace(BASE_URL, server.url), tmp_path)
    answers = [json.loads(each) for each in told.replace("}{", "}\n{").splitlines()]
    assert len(answers) == commands.count("curl")
    bodies = [server.wait(each["task_id"]) for each in answers]
    assert [body["status"] for body in bodies] == ["completed"] * len(answers)
    inputs = {server.folder / "data/outputs/inputs" / each["task_id"] for each in answers}
    eventually(lambda: not any(each.exists() for each in inputs), "inputs of ended tasks are kept")


def test_the_commands_with_audio_and_video_work_as_they_stand(server: Server, tmp_path: Path) -> None:
    """A video to 1 s of audio; half of it made anew; that 1 s longer, and changed twice."""
    page = (ROOT / "docs/api.md").read_text(encoding="utf-8")
    _, *commands = [body for language, body in FENCE.findall(page) if language == "bash"]
    Image.new("RGB", (600, 400), "skyblue").save(tmp_path / "day.jpg")
    (tmp_path / "voice.wav").write_bytes(audio_file(1.0))
    told = run("\n".join(commands).replace(BASE_URL, server.url), tmp_path)
    answers = [json.loads(each) for each in told.replace("}{", "}\n{").splitlines()]
    assert [each["status"] for each in answers] == ["completed"] * 3
    assert [each["duration_s"] for each in answers] == [2.0, 1.0, 1.0]
    assert [each["num_inference_steps"] for each in answers] == [4, 2, 2]
