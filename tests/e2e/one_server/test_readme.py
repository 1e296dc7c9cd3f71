import subprocess
from pathlib import Path

from tests.e2e.server import Server
from tests.test_readme import api_commands


def test_the_commands_of_the_readme_work_as_they_stand(server: Server, tmp_path: Path) -> None:
    """In order and in one shell, as the README says, with the port of this server."""
    script = "\n".join(api_commands(server.url))
    result = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    for video in ("sunset.mp4", "animated.mp4"):
        assert (tmp_path / video).read_bytes()[4:8] == b"ftyp"
    assert (tmp_path / "photo.jpg").read_bytes().startswith(b"\xff\xd8")
