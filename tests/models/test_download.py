"""Downloads of a repository from a local fake hub: the real client, without a network.

Promise: local files are used, interrupted downloads continue, and each failure has a code and a message with a remedy.
"""

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx2
import pytest
from huggingface_hub import constants, errors, snapshot_download
from huggingface_hub.utils._fixes import WeakFileLock

from models.checkpoint.base_variant import BASE_VARIANT, TRANSFORMER
from models.checkpoint.locate import fetch_checkpoint, find_checkpoint
from models.checkpoint.profile import CheckpointType, read_profile
from models.errors import (
    DownloadFailed,
    HubUnreachable,
    ModelBroken,
    ModelDiskFull,
    ModelGated,
    ModelNotFound,
    ModelUnavailable,
    RevisionNotFound,
    TaskCanceled,
)
from models.hub.errors import translate_error
from models.hub.files import RepoRef
from models.ltx2.model import Ltx2Model
from models.progress import Progress, Stage
from tests.fake_hub import COMMIT, REPOSITORY, TAG, FakeHub, revision_of
from tests.models.conftest import ignore

WEIGHTS = "transformer/diffusion_pytorch_model.safetensors"


def test_a_repository_is_downloaded_and_loads(hub: FakeHub, tmp_path: Path) -> None:
    model = Ltx2Model.load(REPOSITORY, "cpu", tmp_path / "cache", ignore)
    assert model.name == REPOSITORY
    model.close()


def test_only_the_files_that_rendering_needs_are_downloaded(hub: FakeHub, tmp_path: Path) -> None:
    fetch_checkpoint(REPOSITORY, tmp_path / "cache", ignore)
    assert WEIGHTS in hub.served
    assert "tokenizer/tokenizer.json" in hub.served
    assert not {"ltx-2-19b-dev.safetensors", "vae/diffusion_pytorch_model.bin"} & set(hub.served)
    assert not [name for name in hub.served if name.startswith("latent_upsampler")]


def test_a_download_is_told_in_bytes_and_never_more_than_there_are(hub: FakeHub, tmp_path: Path) -> None:
    told: list[Progress] = []
    folder = fetch_checkpoint(REPOSITORY, tmp_path / "cache", told.append)
    downloaded = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file() and f.name != "model_index.json")
    assert {progress.stage for progress in told} == {Stage.DOWNLOADING}
    assert told[-1].bytes_total == downloaded
    assert [progress.bytes_done for progress in told] == sorted(progress.bytes_done for progress in told)
    assert told[-1].bytes_done == downloaded


def test_a_revision_is_what_is_downloaded(hub: FakeHub, tmp_path: Path) -> None:
    folder = fetch_checkpoint(f"{REPOSITORY}@{TAG}", tmp_path / "cache", ignore)
    assert (folder / "model_index.json").is_file()
    assert f"/{REPOSITORY}/resolve/{TAG}/model_index.json" in hub.asked
    assert "main" not in {revision_of(path) for path in hub.asked}


# -- what is there already


def test_what_is_there_is_not_downloaded_again(hub: FakeHub, tmp_path: Path) -> None:
    first = fetch_checkpoint(REPOSITORY, tmp_path / "cache", ignore)
    hub.served.clear()
    assert fetch_checkpoint(REPOSITORY, tmp_path / "cache", ignore) == first
    assert hub.served == []


def test_what_another_program_has_downloaded_is_used_and_not_fetched_again(
    hub: FakeHub, user_cache: Path, tmp_path: Path
) -> None:
    theirs = snapshot_download(REPOSITORY, cache_dir=user_cache)
    hub.served.clear()
    assert fetch_checkpoint(REPOSITORY, tmp_path / "cache", ignore) == Path(theirs)
    assert hub.served == []
    assert not (tmp_path / "cache").exists()
    assert find_checkpoint(REPOSITORY, tmp_path / "cache") == Path(theirs)


def test_what_another_program_has_is_used_without_a_network_too(
    hub: FakeHub, user_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = snapshot_download(REPOSITORY, cache_dir=user_cache)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert fetch_checkpoint(REPOSITORY, tmp_path / "cache", ignore) == Path(theirs)


def test_what_another_program_has_only_in_part_is_not_used(hub: FakeHub, user_cache: Path, tmp_path: Path) -> None:
    snapshot_download(REPOSITORY, cache_dir=user_cache, allow_patterns=["model_index.json", "vae/*"])
    folder = fetch_checkpoint(REPOSITORY, tmp_path / "cache", ignore)
    assert folder.is_relative_to(tmp_path / "cache")
    assert (folder / WEIGHTS).is_file()


def test_offline_what_is_there_is_used(hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = fetch_checkpoint(REPOSITORY, tmp_path / "cache", ignore)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert fetch_checkpoint(REPOSITORY, tmp_path / "cache", ignore) == first


def test_while_the_hub_is_down_what_is_there_is_used(hub: FakeHub, tmp_path: Path) -> None:
    first = fetch_checkpoint(REPOSITORY, tmp_path / "cache", ignore)
    hub.misbehaviour.down = True
    assert fetch_checkpoint(REPOSITORY, tmp_path / "cache", ignore) == first


# -- faults during the transfer


def test_a_connection_that_breaks_goes_on_where_it_broke(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 500)
    hub.misbehaviour.cut_once[WEIGHTS] = 1000
    folder = fetch_checkpoint(REPOSITORY, tmp_path / "cache", ignore)
    assert hub.ranges[WEIGHTS].startswith("bytes=1000-")
    assert (folder / WEIGHTS).read_bytes() == (hub.folder / WEIGHTS).read_bytes()


def test_a_download_that_was_stopped_goes_on_with_the_files_that_are_missing(hub: FakeHub, tmp_path: Path) -> None:
    hub.misbehaviour.short[WEIGHTS] = 1000
    with pytest.raises(DownloadFailed):
        fetch_checkpoint(REPOSITORY, tmp_path / "cache", ignore)
    hub.misbehaviour.short.clear()
    (snapshot,) = (tmp_path / "cache").glob(f"*/snapshots/{COMMIT}")
    kept = {str(file.relative_to(snapshot)) for file in snapshot.rglob("*") if file.is_file()}
    hub.served.clear()
    fetch_checkpoint(REPOSITORY, tmp_path / "cache", ignore)
    assert "model_index.json" in kept
    assert WEIGHTS in hub.served
    assert not kept & set(hub.served)


def test_a_report_can_end_a_download_which_then_goes_on_from_there(hub: FakeHub, tmp_path: Path) -> None:
    hub.misbehaviour.delay_s = 0.2

    def cancel(progress: Progress) -> None:
        if progress.bytes_total:
            raise TaskCanceled("canceled")

    with pytest.raises(TaskCanceled):
        fetch_checkpoint(REPOSITORY, tmp_path / "cache", cancel)
    assert fetch_checkpoint(REPOSITORY, tmp_path / "cache", ignore).is_dir()


def test_a_file_that_comes_too_short_is_said_and_not_kept(hub: FakeHub, tmp_path: Path) -> None:
    hub.misbehaviour.short[WEIGHTS] = 1000
    with pytest.raises(DownloadFailed, match="could not be downloaded whole"):
        fetch_checkpoint(REPOSITORY, tmp_path / "cache", ignore)
    assert not list((tmp_path / "cache").glob(f"**/{WEIGHTS}"))


def test_what_does_not_fit_on_the_disk_is_said_before_anything_is_fetched(hub: FakeHub, tmp_path: Path) -> None:
    hub.misbehaviour.claimed[WEIGHTS] = 10**18
    with pytest.raises(ModelDiskFull, match=r"needs 1000000000\.0 GB on disk, and .* GB free"):
        fetch_checkpoint(REPOSITORY, tmp_path / "cache", ignore)
    assert hub.served == ["model_index.json"]


# -- what cannot be downloaded


def test_a_gated_repository_opens_with_the_token(hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.token = "hf_secret"
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with pytest.raises(ModelGated, match=r"accept its terms on huggingface\.co, and set HF_TOKEN"):
        fetch_checkpoint(REPOSITORY, tmp_path / "cache", ignore)
    monkeypatch.setenv("HF_TOKEN", "hf_mistyped")
    with pytest.raises(ModelGated, match=r"cannot be read with this token: check HF_TOKEN.*Invalid credentials"):
        fetch_checkpoint(REPOSITORY, tmp_path / "cache", ignore)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert fetch_checkpoint(REPOSITORY, tmp_path / "cache", ignore).is_dir()


def test_a_repository_that_is_not_there_is_said(hub: FakeHub, tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match="someone/else is not on the Hugging Face hub, or is private"):
        fetch_checkpoint("someone/else", tmp_path / "cache", ignore)


def test_a_revision_that_is_not_there_is_said(hub: FakeHub, tmp_path: Path) -> None:
    with pytest.raises(RevisionNotFound, match=r"small-ltx2@v9 is not on .*no such branch, tag or commit"):
        fetch_checkpoint(f"{REPOSITORY}@v9", tmp_path / "cache", ignore)


def test_a_repository_in_another_layout_is_said(hub: FakeHub, tmp_path: Path) -> None:
    (hub.folder / "model_index.json").unlink()
    with pytest.raises(ModelBroken, match=r"has no model_index.json"):
        fetch_checkpoint(REPOSITORY, tmp_path / "cache", ignore)


def test_a_repository_with_a_broken_index_is_said(hub: FakeHub, tmp_path: Path) -> None:
    (hub.folder / "model_index.json").write_text("{")
    with pytest.raises(ModelBroken, match=r"has a broken model_index.json"):
        fetch_checkpoint(REPOSITORY, tmp_path / "cache", ignore)


def test_offline_what_is_not_there_is_said(hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(HubUnreachable, match=r"is not on this machine, .*HF_HUB_OFFLINE"):
        fetch_checkpoint(REPOSITORY, tmp_path / "cache", ignore)
    assert hub.asked == []


def test_offline_what_is_there_in_part_is_said(hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.misbehaviour.short[WEIGHTS] = 1000
    with pytest.raises(DownloadFailed):
        fetch_checkpoint(REPOSITORY, tmp_path / "cache", ignore)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(HubUnreachable, match="is only partly on this machine"):
        fetch_checkpoint(REPOSITORY, tmp_path / "cache", ignore)


def test_the_mirror_that_the_environment_names_is_asked(hub: FakeHub, tmp_path: Path) -> None:
    code = "import sys, pathlib\nfrom models.checkpoint.locate import fetch_checkpoint\n"
    code += "print(fetch_checkpoint(sys.argv[1], pathlib.Path(sys.argv[2]), lambda _: None))"
    environment = {**os.environ, "HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path / "home")}
    command = [sys.executable, "-c", code, REPOSITORY, str(tmp_path / "cache")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert (Path(done.stdout.strip()) / WEIGHTS).is_file()


def response(status: int) -> Any:
    return httpx2.Response(status, request=httpx2.Request("GET", "https://huggingface.co/a/b"))


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (errors.GatedRepoError("", response=response(403)), ModelGated, "accept its terms"),
        (errors.LocalEntryNotFoundError(""), HubUnreachable, "cannot be reached: check the network"),
        (errors.OfflineModeIsEnabled(""), HubUnreachable, "cannot be reached"),
        (
            errors.HfHubHTTPError("503\n\nsee", response=response(503)),
            DownloadFailed,
            "could not be downloaded: 503 see",
        ),
        (errors.HfHubHTTPError("no", response=response(403)), ModelGated, "check HF_TOKEN and its permissions (no)"),
        (errors.HFValidationError("two slashes"), ModelNotFound, "two slashes"),
        (ConnectionResetError("reset"), DownloadFailed, "the connection broke"),
        (httpx2.ReadError("broken"), DownloadFailed, "the connection broke"),
        (OSError(errno.ENOSPC, "No space left on device"), ModelDiskFull, "does not fit on the disk"),
        (RuntimeError("I/O error: No space left on device (os error 28)"), ModelDiskFull, "does not fit on the disk"),
        (RuntimeError("CAS service error: Reqwest"), DownloadFailed, "could not be downloaded: CAS service error"),
    ],
)
def test_every_failure_of_the_hub_is_said_in_words(error: Exception, kind: type[ModelUnavailable], said: str) -> None:
    explained = translate_error(RepoRef.parse(REPOSITORY), error)
    assert type(explained) is kind
    assert explained.message.startswith(REPOSITORY)
    assert said in explained.message


def test_each_failure_has_a_code_of_its_own() -> None:
    kinds = ModelUnavailable.__subclasses__()
    assert len({kind.code for kind in (ModelUnavailable, *kinds)}) == len(kinds) + 1


# -- a repository with two transformers


@pytest.fixture
def two(hub: FakeHub) -> FakeHub:
    """A hub whose repository has the full transformer beside the distilled one that its index names."""
    shutil.copytree(hub.folder / TRANSFORMER, hub.folder / BASE_VARIANT)
    weights = hub.folder / BASE_VARIANT / Path(WEIGHTS).name
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    config = hub.folder / "scheduler" / "scheduler_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"use_dynamic_shifting": False}))
    return hub


@pytest.mark.parametrize(
    ("checkpoint_type", "wanted", "other"),
    [(CheckpointType.AUTO, TRANSFORMER, BASE_VARIANT), (CheckpointType.BASE, BASE_VARIANT, TRANSFORMER)],
)
def test_of_two_transformers_only_the_one_that_is_used_is_downloaded(
    two: FakeHub, tmp_path: Path, checkpoint_type: CheckpointType, wanted: str, other: str
) -> None:
    folder = fetch_checkpoint(REPOSITORY, tmp_path / "cache", ignore, checkpoint_type)
    assert f"{wanted}/diffusion_pytorch_model.safetensors" in two.served
    assert not [name for name in two.served if name.startswith(f"{other}/")]
    assert (folder / WEIGHTS).resolve().read_bytes() == (two.folder / wanted / Path(WEIGHTS).name).read_bytes()
    assert (read_profile(folder, checkpoint_type).sigmas is None) == (checkpoint_type is CheckpointType.BASE)
    assert find_checkpoint(REPOSITORY, tmp_path / "cache", checkpoint_type) == folder


def test_the_full_transformer_is_found_again_without_the_hub(
    two: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = fetch_checkpoint(REPOSITORY, tmp_path / "cache", ignore, CheckpointType.BASE)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert fetch_checkpoint(REPOSITORY, tmp_path / "cache", ignore, CheckpointType.BASE) == first


def test_another_program_s_distilled_transformer_is_not_taken_for_the_full_one(
    two: FakeHub, user_cache: Path, tmp_path: Path
) -> None:
    snapshot_download(REPOSITORY, cache_dir=user_cache, ignore_patterns=[f"{BASE_VARIANT}/*"])
    folder = fetch_checkpoint(REPOSITORY, tmp_path / "cache", ignore, CheckpointType.BASE)
    assert (folder / TRANSFORMER).resolve().name == BASE_VARIANT
    two.served.clear()
    snapshot_download(REPOSITORY, cache_dir=user_cache)
    fetch_checkpoint(REPOSITORY, tmp_path / "other-cache", ignore, CheckpointType.BASE)
    assert [name for name in two.served if name.endswith(".safetensors")] == [f"{BASE_VARIANT}/{Path(WEIGHTS).name}"]


def test_a_repository_with_one_transformer_is_the_base_that_the_operator_says_it_is(
    hub: FakeHub, tmp_path: Path
) -> None:
    folder = fetch_checkpoint(REPOSITORY, tmp_path / "cache", ignore, CheckpointType.BASE)
    assert folder == fetch_checkpoint(REPOSITORY, tmp_path / "cache", ignore)


# -- two replicas at once


def test_two_that_download_into_one_cache_at_once_both_get_it_whole(hub: FakeHub, tmp_path: Path) -> None:
    """In separate processes, like replicas."""
    hub.misbehaviour.delay_s = 0.2
    code = "import sys, pathlib\nfrom models.checkpoint.locate import fetch_checkpoint\n"
    code += "from models.checkpoint.validate import check_checkpoint\n"
    code += "check_checkpoint(fetch_checkpoint(sys.argv[1], pathlib.Path(sys.argv[2]), lambda _: None))"
    environment = {**os.environ, "HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path / "home")}
    command = [sys.executable, "-c", code, REPOSITORY, str(tmp_path / "cache")]
    both = [subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    told = [process.communicate()[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], told
    assert hub.served.count(WEIGHTS) == 1


# -- files that are not needed


def test_of_weights_that_are_there_twice_one_copy_is_downloaded(hub: FakeHub, tmp_path: Path) -> None:
    """diffusers prefers shards, transformers the single file."""
    for component, whole in {"connectors": "diffusion_pytorch_model", "text_encoder": "model"}.items():
        content = (hub.folder / component / f"{whole}.safetensors").read_bytes()
        (hub.folder / component / f"{whole}-00001-of-00001.safetensors").write_bytes(content + b" ")
        (hub.folder / component / f"{whole}.safetensors.index.json").write_text('{"weight_map": {}}')
    (hub.folder / "vae" / "model.safetensors").write_bytes(b"under another library's name")
    told: list[Progress] = []
    folder = fetch_checkpoint(REPOSITORY, tmp_path / "cache", told.append)
    assert {name for name in hub.served if name.startswith("connectors") and name.endswith("safetensors")} == {
        "connectors/diffusion_pytorch_model-00001-of-00001.safetensors"
    }
    assert "text_encoder/model.safetensors" in hub.served
    assert not {"text_encoder/model-00001-of-00001.safetensors", "vae/model.safetensors"} & set(hub.served)
    hub.misbehaviour.down = True
    assert fetch_checkpoint(REPOSITORY, tmp_path / "cache", ignore) == folder


def test_what_a_killed_download_left_behind_is_deleted(hub: FakeHub, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    fetch_checkpoint(REPOSITORY, cache, ignore)
    (blobs,) = cache.glob("*/blobs")
    old, young, held = (blobs / f"{etag}.0123abcd.incomplete" for etag in ("one", "two", "three"))
    for file in (old, young, held):
        file.write_bytes(b"half a shard")
    for file in (old, held):
        os.utime(file, (0, 0))
    with WeakFileLock(cache / ".locks" / blobs.parent.name / "three.lock"):
        fetch_checkpoint(REPOSITORY, cache, ignore)
    assert {file.name for file in blobs.glob("*.incomplete")} == {young.name, held.name}
