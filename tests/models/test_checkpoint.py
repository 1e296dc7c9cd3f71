"""Getting a checkpoint, against a hub of our own on localhost: the real client, no network."""

import hashlib
import json
import shutil
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from huggingface_hub import constants, errors

from models.checkpoint import Repository, _explain, components, fetch_checkpoint
from models.errors import ModelUnavailable, TaskCancelled
from models.ltx2 import Ltx2
from models.progress import Progress, Stage
from tests.models.conftest import ignore

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REPOSITORY = "someone/small-ltx2"
TAG = "v2"
REVISIONS = ("main", TAG, COMMIT)


class FakeHub(ThreadingHTTPServer):
    """A hub with one public repository, whose files are those of `folder`."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder = folder
        self.served: list[str] = []
        self.asked: list[str] = []
        self.delay_s = 0.0

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: FakeHub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.answer(with_body=False)

    def do_GET(self) -> None:
        self.answer(with_body=True)

    def answer(self, *, with_body: bool) -> None:
        path = self.path.split("?")[0]
        self.server.asked.append(path)
        if (revision := _revision(path)) and revision not in REVISIONS:
            self.refuse(404, "RevisionNotFound")
            return
        if path.startswith(f"/api/models/{REPOSITORY}/tree/"):
            self.send(json.dumps(self.tree()).encode(), with_body=with_body)
        elif path.startswith(f"/api/models/{REPOSITORY}"):
            self.send(json.dumps({"id": REPOSITORY, "sha": COMMIT, "siblings": []}).encode(), with_body=with_body)
        elif path.startswith(f"/{REPOSITORY}/resolve/"):
            name = path.split("/resolve/")[1].split("/", 1)[1]
            self.send_file(name, with_body=with_body)
        else:
            self.refuse(401, "RepoNotFound")

    def tree(self) -> list[dict[str, Any]]:
        files = [file for file in sorted(self.server.folder.rglob("*")) if file.is_file()]
        return [
            {
                "type": "file",
                "path": str(file.relative_to(self.server.folder)),
                "size": file.stat().st_size,
                "oid": hashlib.sha1(file.read_bytes()).hexdigest(),
            }
            for file in files
        ]

    def send_file(self, name: str, *, with_body: bool) -> None:
        file = self.server.folder / name
        if not file.is_file():
            self.refuse(404, "EntryNotFound")
            return
        if with_body:
            self.server.served.append(name)
            time.sleep(self.server.delay_s)
        self.send(file.read_bytes(), with_body=with_body)

    def send(self, body: bytes, *, with_body: bool) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", f'"{hashlib.sha1(body).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def refuse(self, status: int, code: str) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_args: object) -> None:
        pass


def _revision(path: str) -> str | None:
    """The revision that a path of the hub's API names, if it names one."""
    for marker in ("/resolve/", "/tree/", "/revision/"):
        if marker in path:
            return path.split(marker)[1].split("/", maxsplit=1)[0]
    return None


@pytest.fixture
def hub(tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    repository = shutil.copytree(tiny_folder, tmp_path / "repository")
    (repository / "ltx-2-19b-dev.safetensors").write_bytes(b"the same weights once more, in one file")
    (repository / "vae" / "diffusion_pytorch_model.bin").write_bytes(b"a pickle")
    (repository / "latent_upsampler").mkdir()
    (repository / "latent_upsampler" / "model.safetensors").write_bytes(b"another model")
    hub = FakeHub(repository)
    monkeypatch.setattr(constants, "ENDPOINT", hub.endpoint)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    )
    thread = threading.Thread(target=hub.serve_forever, daemon=True)
    thread.start()
    yield hub
    hub.shutdown()
    hub.server_close()
    thread.join()


def test_a_repository_is_downloaded_and_loads(hub: FakeHub, tmp_path: Path) -> None:
    model = Ltx2.load(REPOSITORY, "cpu", tmp_path / "cache", ignore)
    assert model.name == REPOSITORY
    model.close()


def test_only_the_files_that_rendering_needs_are_downloaded(hub: FakeHub, tmp_path: Path) -> None:
    fetch_checkpoint(REPOSITORY, tmp_path / "cache", ignore)
    assert "transformer/diffusion_pytorch_model.safetensors" in hub.served
    assert "tokenizer/tokenizer.json" in hub.served
    assert not {"ltx-2-19b-dev.safetensors", "vae/diffusion_pytorch_model.bin"} & set(hub.served)
    assert not [name for name in hub.served if name.startswith("latent_upsampler")]


def test_a_download_is_told_in_bytes_and_never_more_than_there_are(hub: FakeHub, tmp_path: Path) -> None:
    hub.delay_s = 0.4
    told: list[Progress] = []
    folder = fetch_checkpoint(REPOSITORY, tmp_path / "cache", told.append)
    downloaded = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file() and f.name != "model_index.json")
    assert {progress.stage for progress in told} == {Stage.DOWNLOADING}
    assert told[-1].bytes_total == downloaded
    assert [progress.bytes_done for progress in told] == sorted(progress.bytes_done for progress in told)
    assert 0 < told[-1].bytes_done <= downloaded


def test_a_revision_is_what_is_downloaded(hub: FakeHub, tmp_path: Path) -> None:
    folder = fetch_checkpoint(f"{REPOSITORY}@{TAG}", tmp_path / "cache", ignore)
    assert (folder / "model_index.json").is_file()
    assert f"/{REPOSITORY}/resolve/{TAG}/model_index.json" in hub.asked
    assert "main" not in {_revision(path) for path in hub.asked}


def test_a_revision_that_is_not_there_is_said(hub: FakeHub, tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match=r"small-ltx2@v9 is not on .*no such branch, tag or commit"):
        fetch_checkpoint(f"{REPOSITORY}@v9", tmp_path / "cache", ignore)


def test_a_revision_that_is_empty_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match="a branch, a tag or a commit must follow"):
        fetch_checkpoint(f"{REPOSITORY}@", tmp_path / "cache", ignore)


def test_what_is_there_is_not_downloaded_again(hub: FakeHub, tmp_path: Path) -> None:
    first = fetch_checkpoint(REPOSITORY, tmp_path / "cache", ignore)
    hub.served.clear()
    assert fetch_checkpoint(REPOSITORY, tmp_path / "cache", ignore) == first
    assert hub.served == []


def test_a_report_can_end_a_download_which_then_goes_on_from_there(hub: FakeHub, tmp_path: Path) -> None:
    hub.delay_s = 0.2

    def cancel(progress: Progress) -> None:
        if progress.bytes_total:
            raise TaskCancelled("canceled")

    with pytest.raises(TaskCancelled):
        fetch_checkpoint(REPOSITORY, tmp_path / "cache", cancel)
    assert fetch_checkpoint(REPOSITORY, tmp_path / "cache", ignore).is_dir()


def test_a_repository_that_is_not_there_is_said(hub: FakeHub, tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match="someone/else is not on the Hugging Face hub, or is private"):
        fetch_checkpoint("someone/else", tmp_path / "cache", ignore)


def test_a_repository_in_another_layout_is_said(hub: FakeHub, tmp_path: Path) -> None:
    (hub.folder / "model_index.json").unlink()
    with pytest.raises(ModelUnavailable, match=r"has no model_index.json"):
        fetch_checkpoint(REPOSITORY, tmp_path / "cache", ignore)


def test_a_full_disk_is_said_before_the_download(hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.checkpoint.shutil.disk_usage", lambda _path: SimpleNamespace(free=1000))
    with pytest.raises(ModelUnavailable, match=r"needs 0\.0 GB on disk, and .* has 0\.0 GB free"):
        fetch_checkpoint(REPOSITORY, tmp_path / "cache", ignore)
    assert hub.served == ["model_index.json"]


@pytest.mark.parametrize("name", ["/nowhere", "./nowhere", "~/nowhere", "no-owner", "a/b/c", ""])
def test_a_folder_that_is_not_there_is_not_looked_for_on_the_hub(name: str, tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match="is no folder on this machine"):
        fetch_checkpoint(name, tmp_path, ignore)


def response(status: int) -> Any:
    return httpx.Response(status, request=httpx.Request("GET", "https://huggingface.co/a/b"))


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (errors.GatedRepoError("", response=response(403)), "accept its terms"),
        (errors.LocalEntryNotFoundError(""), "cannot be reached: check the network"),
        (errors.OfflineModeIsEnabled(""), "cannot be reached"),
        (errors.HfHubHTTPError("503", response=response(503)), "could not be downloaded: 503"),
        (errors.HFValidationError("two slashes"), "two slashes"),
        (ConnectionResetError("reset"), "the connection broke"),
    ],
)
def test_every_failure_of_the_hub_is_said_in_words(error: Exception, said: str) -> None:
    explained = _explain(Repository.parse(REPOSITORY), error)
    assert explained is not None
    assert explained.message.startswith(REPOSITORY)
    assert said in explained.message


def test_parts_that_rendering_does_not_use_are_left_out() -> None:
    index = {
        "_class_name": "LTX2Pipeline",
        "vae": ["diffusers", "AutoencoderKLLTX2Video"],
        "prompt_enhancer": ["transformers", "Gemma4ForConditionalGeneration"],
        "processor": [None, None],
    }
    assert components(index) == ("vae",)
