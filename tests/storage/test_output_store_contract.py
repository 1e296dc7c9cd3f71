"""The contract of an output store, and the behavior of a full disk."""

import gc
import subprocess
import sys
import textwrap
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest

from models.errors import StorageFull, StoreUnavailable
from storage.outputs.local import LocalOutputStore
from storage.outputs.open_store import open_output_store
from storage.outputs.store import CHUNK_BYTES, staging_key

KEY = "outputs/ltx2_x.mp4"
CONTENT = bytes(range(256)) * (2 * CHUNK_BYTES // 256) + b"end"


def read(outputs, key: str = KEY, *part: int) -> bytes:
    return b"".join(outputs.open(key, *part))


def test_what_is_put_is_read_back(outputs, tmp_path):
    outputs.put(KEY, CONTENT)
    assert read(outputs) == CONTENT
    source = tmp_path / "source.mp4"
    source.write_bytes(b"from a file")
    outputs.put(KEY, source)
    assert read(outputs) == b"from a file"
    assert outputs.stat(KEY).size_bytes == 11


@pytest.mark.parametrize(
    ("start", "length"), [(0, 0), (0, 1), (5, 10), (CHUNK_BYTES - 1, 2), (100, None), (len(CONTENT) - 3, 99)]
)
def test_a_part_is_read(outputs, start, length):
    outputs.put(KEY, CONTENT)
    end = len(CONTENT) if length is None else start + length
    assert read(outputs, KEY, start, length) == CONTENT[start:end]


def test_what_is_not_there_is_not_there(outputs):
    assert outputs.stat(KEY) is None
    outputs.delete(KEY)
    with pytest.raises(FileNotFoundError):
        outputs.open(KEY)


def test_a_deleted_file_is_gone_but_is_read_to_its_end(outputs):
    outputs.put(KEY, CONTENT)
    chunks = outputs.open(KEY)
    first = next(chunks)
    outputs.delete(KEY)
    assert outputs.stat(KEY) is None
    assert first + b"".join(chunks) == CONTENT


def test_a_file_that_is_opened_and_never_read_is_closed(outputs):
    """A client may close the connection before the first byte."""
    outputs.put(KEY, CONTENT)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        outputs.open(KEY)
        gc.collect()
    assert [str(each.message) for each in seen] == []


def test_files_are_listed_in_order_from_a_cursor_on(outputs):
    assert outputs.list("outputs/", "", 10) in ((), [])
    keys = [f"outputs/ltx2_{name}.mp4" for name in ("a", "b", "c")]
    for key in (*reversed(keys), "inputs/a"):
        outputs.put(key, b"content")
    assert [each.key for each in outputs.list("outputs/", "", 10)] == keys
    assert [each.key for each in outputs.list("outputs/", "", 2)] == keys[:2]
    assert [each.key for each in outputs.list("outputs/", keys[1], 2)] == keys[2:]
    assert not outputs.list("outputs/", keys[2], 2)
    assert [each.key for each in outputs.list("inputs/", "", 10)] == ["inputs/a"]
    (listed,) = outputs.list("outputs/", keys[1], 1)
    assert listed.modified_at == pytest.approx(outputs.stat(keys[2]).modified_at, abs=1)


def test_a_removed_cursor_still_says_where_to_go_on(outputs):
    keys = ["inputs/a", "inputs/b", "inputs/c"]
    for key in keys:
        outputs.put(key, b"content")
    outputs.delete(keys[1])
    assert [each.key for each in outputs.list("inputs/", keys[1], 10)] == keys[2:]


def test_another_content_has_another_etag(outputs):
    outputs.put(KEY, b"a")
    first = outputs.stat(KEY)
    outputs.put(KEY, b"b")
    assert outputs.stat(KEY).etag != first.etag


def test_publishing_gives_the_final_name(outputs):
    outputs.put(staging_key(KEY, 1), b"video")
    outputs.publish(staging_key(KEY, 1), KEY)
    assert read(outputs) == b"video"
    assert outputs.stat(staging_key(KEY, 1)) is None


def test_publishing_never_replaces_a_published_file(outputs):
    for claim in (1, 2):
        outputs.put(staging_key(KEY, claim), f"attempt {claim}".encode())
        outputs.publish(staging_key(KEY, claim), KEY)
    assert read(outputs) == b"attempt 1"
    assert outputs.stat(staging_key(KEY, 2)) is None


def test_publishing_what_is_not_there_is_an_error(outputs):
    with pytest.raises(StoreUnavailable):
        outputs.publish(staging_key(KEY, 1), KEY)


def test_readers_see_a_whole_file_while_it_is_replaced(outputs):
    contents = [bytes([number]) * 300_000 for number in range(4)]
    outputs.put(KEY, contents[0])
    with ThreadPoolExecutor(3) as pool:
        for content in contents:
            pool.submit(outputs.put, KEY, content)
        seen = [pool.submit(read, outputs) for _ in range(10)]
    assert all(each.result() in contents for each in seen)


@pytest.mark.parametrize(
    "key",
    [
        "",
        "outputs",
        "outputs/",
        "/etc/passwd",
        "../x",
        "outputs/../x",
        "outputs/..",
        "outputs/.hidden",
        "outputs/a/b",
        "outputs//a",
        "outputs/a\n",
        "outputs/a\x00",
        "outputs/a b",
        "outputs/\u00e9",
        "other/a",
        "inputs\\a",
        "outputs/" + "x" * 201,
    ],
)
def test_a_key_that_is_none_never_reaches_a_file(outputs, key):
    for use in (outputs.stat, outputs.open, outputs.delete, lambda key: outputs.put(key, b"x")):
        with pytest.raises(StoreUnavailable, match="is not a key"):
            use(key)
    outputs.put(KEY, b"x")
    for pair in ((KEY, key), (key, KEY)):
        with pytest.raises(StoreUnavailable, match="is not a key"):
            outputs.publish(*pair)
    assert read(outputs) == b"x"


def test_a_store_that_can_be_written_passes_its_check_and_keeps_nothing_of_it(outputs, tmp_path):
    outputs.check_health()
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == []


def test_a_store_tells_its_room_or_that_it_has_no_end(outputs):
    assert outputs.free_bytes() is None or outputs.free_bytes() > 0


# -- the folder


def test_a_file_in_place_of_the_folder_is_unavailable(tmp_path):
    (tmp_path / "store").write_text("x")
    outputs = LocalOutputStore(tmp_path / "store")
    for use in (outputs.check_health, lambda: outputs.put(KEY, b"x"), lambda: outputs.stat(KEY)):
        with pytest.raises(StoreUnavailable, match="did not answer"):
            use()


@pytest.mark.skipif(sys.platform != "linux", reason="needs a file that opens and cannot be read")
def test_a_read_that_fails_midway_is_a_store_that_is_away(tmp_path):
    """A network file system whose server goes away fails so. The kernel refuses to read memory at address 0."""
    (tmp_path / "inputs").mkdir()
    (tmp_path / "inputs/x").symlink_to("/proc/self/mem")
    chunks = LocalOutputStore(tmp_path).open("inputs/x", 0, 10)
    with pytest.raises(StoreUnavailable, match="did not answer: Input/output error"):
        next(chunks)


def test_an_unfinished_write_leaves_nothing(tmp_path):
    outputs = LocalOutputStore(tmp_path / "store")
    outputs.put(KEY, b"before")
    with pytest.raises(StoreUnavailable):
        outputs.put(KEY, tmp_path / "no such file")
    assert [file.name for file in (tmp_path / "store" / "outputs").iterdir()] == ["ltx2_x.mp4"]
    assert read(outputs) == b"before"


def test_what_a_client_sent_is_readable_for_the_server_alone(tmp_path):
    outputs = LocalOutputStore(tmp_path)
    for key in (KEY, "inputs/x"):
        outputs.put(key, b"content")
    assert (tmp_path / "inputs/x").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / KEY).stat().st_mode & 0o777 == 0o644


LIMITED = """
    import resource, signal, sys
    from pathlib import Path
    from models.errors import StoreUnavailable
    from storage.outputs.local import LocalOutputStore
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
    outputs = LocalOutputStore(Path(sys.argv[1]))
    outputs.put("outputs/small", bytes(10_000))
    try:
        outputs.put("outputs/small", bytes(3_000_000))
    except StoreUnavailable as error:
        print(error.message)
"""


def test_a_file_that_does_not_fit_is_refused_and_leaves_the_old_one(tmp_path):
    command = [sys.executable, "-c", textwrap.dedent(LIMITED), str(tmp_path)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout == "the output store did not answer: File too large\n"
    assert [(file.name, file.stat().st_size) for file in (tmp_path / "outputs").iterdir()] == [("small", 10_000)]


def test_a_full_disk_says_so(tmp_path):
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", tmp_path], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("needs to mount a small file system")
    try:
        assert LocalOutputStore(tmp_path / "store").free_bytes() <= 64 * 1024
        with pytest.raises(StorageFull, match="no space left"):
            LocalOutputStore(tmp_path / "store").put(KEY, bytes(1_000_000))
        assert list((tmp_path / "store" / "outputs").iterdir()) == []
    finally:
        subprocess.run(["umount", tmp_path], check=True)


@pytest.mark.parametrize("url", ["", "file:", "data/outputs", "ftp://x", "http://x"])
def test_a_url_that_names_no_store_is_refused(url):
    with pytest.raises(ValueError, match="file:FOLDER"):
        open_output_store(url)
