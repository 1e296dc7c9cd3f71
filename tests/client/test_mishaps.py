"""Every failure of network, environment or arguments ends as one line and an exit status, without a traceback."""

import asyncio
import inspect
import os
import signal
import socket
import ssl
import subprocess
import sys
from pathlib import Path

import httpcore
import httpx
import pytest
import socksio

from ltx2_client import AsyncClient, Client, ClientError
from ltx2_client.cli import main
from ltx2_client.errors import ApiError
from ltx2_client.operations import STRANGER
from tests.client.socks import socks_proxy
from tests.client.test_cli import task

ROOT = str(Path(__file__).parents[2])
PROMPT = "A paper boat drifts across a bowl."
PATIENCE_S = 60
NOBODY = "http://127.0.0.1:9"


def made(kind: type[Exception]) -> Exception:
    """An instance of the class, whatever arguments its constructor needs."""
    for arguments in (("it broke",), ("it broke", 0, 1, "why"), ("ascii", "\xfc", 0, 1, "why"), ()):
        for options in ({}, {"request": None, "response": None}):
            try:
                return kind(*arguments, **options)
            except TypeError:
                continue
    raise AssertionError(kind)


def exceptions_of(module) -> list[type[Exception]]:
    return [kind for _, kind in inspect.getmembers(module, inspect.isclass) if issubclass(kind, Exception)]


KINDS = [
    *exceptions_of(httpx),
    *exceptions_of(httpcore),
    *exceptions_of(socksio),
    *exceptions_of(ssl),
    *(ValueError, UnicodeError, UnicodeEncodeError, OverflowError, TypeError, KeyError, IndexError, AttributeError),
    *(
        ImportError,
        OSError,
        PermissionError,
        ConnectionResetError,
        TimeoutError,
        RuntimeError,
        RecursionError,
        EOFError,
    ),
]


class Raising(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """A transport of httpx that raises the error instead of using the network."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def handle_request(self, request):
        raise self._error

    async def handle_async_request(self, request):
        raise self._error


@pytest.mark.filterwarnings("ignore")  # httpx warns about removed classes
def test_whatever_the_network_raises_is_an_error_of_the_client(tmp_path):
    assert len(KINDS) > 60
    client = Client(NOBODY, retry_timeout_s=0)
    calls = (
        client.health,
        client.tasks,
        lambda: client.submit(PROMPT),
        lambda: client.download(task(url=f"{NOBODY}/a.mp4"), tmp_path / "a.mp4"),
    )
    for kind in KINDS:
        client._http = httpx.Client(transport=Raising(made(kind)))
        for call in calls:
            with pytest.raises(ClientError) as caught:
                call()
            assert len(caught.value.message.splitlines()) == 1
    assert not list(tmp_path.iterdir())

    async def ask() -> None:
        client = AsyncClient(NOBODY, retry_timeout_s=0)
        for kind in KINDS:
            client._http = httpx.AsyncClient(transport=Raising(made(kind)))
            with pytest.raises(ClientError):
                await client.health()

    asyncio.run(ask())


STRANGE = [b"[]", b"{", b"[" * 100_000, b"\xff", b'{"task_id": 7}', b'{"tasks": 5}', b'{"tasks": [7]}', b'"x"']
STRANGE += [b'{"tasks": [{"task_id": "a", "status": "completed", "state": 1}]}', b'{"status": null}', b"null"]


def test_whatever_answers_that_is_no_such_server_is_told_so():
    for content in STRANGE:
        with Client(NOBODY, retry_timeout_s=0) as client:
            client._http = httpx.Client(
                transport=httpx.MockTransport(lambda _, it=content: httpx.Response(200, content=it))
            )
            for call in (client.health, client.tasks, lambda client=client: client.poll("a")):
                with pytest.raises(ApiError, match=STRANGER):
                    call()


@pytest.mark.parametrize(
    "body", [{"progress": "half"}, {"progress": 1e999}, {"eta_s": float("nan")}, {"step": 1.5}, {"adjusted": 7}]
)
def test_a_field_of_another_kind_is_no_record(body):
    assert task().progress == 0.1
    with pytest.raises(TypeError):
        task(**body)


def run_all(folder: Path, cases: list[tuple[list[str], dict[str, str]]], program=("-m", "ltx2_client")) -> list[tuple]:
    """Run `ltx2` with each of these arguments and environments, all at once."""
    clean = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    base = {**clean, "PYTHONPATH": ROOT, "LTX_SERVER": NOBODY}
    started = [
        subprocess.Popen(
            [sys.executable, *program, *argv],
            cwd=folder,
            env={**base, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for argv, environment in cases
    ]
    ended = [process.communicate(timeout=PATIENCE_S) for process in started]
    return [(process.returncode, *map(bytes.decode, output)) for process, output in zip(started, ended, strict=True)]


WRONG_ENVIRONMENT = [
    {"ALL_PROXY": "socks4://127.0.0.1:1080"},
    {"ALL_PROXY": "http://[::1"},
    {"HTTP_PROXY": "ftp://127.0.0.1:21"},
    {"http_proxy": "http://127.0.0.1:port"},
    {"https_proxy": "://"},
    {"SSL_CERT_FILE": "/no/such/file.pem"},
    {"SSL_CERT_FILE": "/etc/hostname"},
    {"SSLKEYLOGFILE": "/no/such/folder/keys.log"},
    {"LTX_SERVER": "http://"},
    {"LTX_SERVER": "ftp://localhost"},
    {"LTX_SERVER": "http://a b"},
    {"LTX_SERVER": "http://localhost:99999999"},
    {"LTX_SERVER": "http://[::1"},
    {"LTX_SERVER": "http://localhost/?a=b"},
    {"LTX_SERVER": "http://\udcff"},
    {"LTX_API_KEY": "a b"},
    {"LTX_API_KEY": "\udcff"},
]
WRONG_ARGUMENTS = [
    ["generate", PROMPT, "-o", "no/such/folder/a.mp4"],
    ["generate", PROMPT, "-o", "."],
    ["generate", PROMPT, "-o", "a" * 300],
    ["generate", PROMPT, "-i", "."],
    ["generate", PROMPT, "-i", "nowhere.png"],
    ["generate", PROMPT, "--frame-rate", "nan"],
    ["generate", PROMPT, "--seed", "many"],
    ["generate", "\udcff"],
    ["cancel"],
    [],
]


@pytest.fixture
def ltx2(tmp_path, monkeypatch, capsys):
    """A function that runs `ltx2` in this process, which saves a second of imports. Returns exit status, stdout,
    stderr.
    """
    for name in [name for name in os.environ if "proxy" in name.lower()]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LTX_SERVER", NOBODY)

    def run(argv: list[str], environment: dict[str, str]) -> tuple[int, str, str]:
        with monkeypatch.context() as settings:
            for name, value in environment.items():
                settings.setenv(name, value)
            return main(argv), *capsys.readouterr()

    return run


def test_what_cannot_be_used_is_one_line_and_status_2(ltx2):
    cases = [(["health"], environment) for environment in WRONG_ENVIRONMENT]
    cases += [(argv, {}) for argv in WRONG_ARGUMENTS]
    for argv, environment in cases:
        status, out, err = ltx2(argv, environment)
        told = (argv, environment, err)
        assert (status, out) == (2, ""), told
        assert len([line for line in err.splitlines() if line.startswith(("error:", "ltx2"))]) == 1, told


def test_what_fails_on_the_way_is_one_line_and_status_1(tmp_path):
    cases = [
        (["health"], {}),
        (["health"], {"ALL_PROXY": "socks5://127.0.0.1:9"}),
        (["health"], {"HTTP_PROXY": "http://127.0.0.1:9"}),
        (["health"], {"ALL_PROXY": "http://127.0.0.1:99999999"}),
        (["health"], {"LTX_SERVER": "http://no-such-host.invalid"}),
        (["health"], {"LTX_SERVER": "https://127.0.0.1:9"}),
        (["health"], {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "LTX_SERVER": "http://b\xfccher.invalid"}),
    ]
    for (_, environment), (status, out, err) in zip(cases, run_all(tmp_path, cases), strict=True):
        assert (status, out) == (1, ""), err
        assert err.startswith("error: no answer from http")
        assert len(err.splitlines()) == 1
        assert (", through " in err) == any("PROXY" in name for name in environment)


def test_a_socks_proxy_is_used_as_every_shell_spells_it(server, tmp_path):
    with socks_proxy() as proxy:
        address = f"127.0.0.1:{proxy.server_address[1]}"
        cases = [
            (["health", "--server", server.url], {name: f"{scheme}://{address}"})
            for name, scheme in (("ALL_PROXY", "socks5"), ("all_proxy", "socks"), ("ALL_PROXY", "socks5h"))
        ]
        past = [(["health", "--server", server.url], {"ALL_PROXY": "socks5://127.0.0.1:9", "NO_PROXY": "127.0.0.1"})]
        for status, out, err in run_all(tmp_path, cases + past):
            assert status == 0, err
            assert "ok" in out
        assert proxy.asked == [("127.0.0.1", server.port)] * 3


def test_without_the_package_for_socks_the_line_says_what_to_do(server, tmp_path):
    program = ("-c", "import sys; sys.modules['socksio'] = None; from ltx2_client.cli import main; sys.exit(main())")
    proxy = {"ALL_PROXY": "socks5://127.0.0.1:9"}
    argv = ["health", "--server", server.url]
    cases = [(argv, proxy), (argv, {**proxy, "NO_PROXY": "127.0.0.1"})]
    (status, _, err), (past, out, _) = run_all(tmp_path, cases, program)
    assert status == 2
    assert "pip install 'httpx[socks]'" in err
    assert len(err.splitlines()) == 1
    assert (past, "ok" in out) == (0, True)


def test_a_disk_that_takes_no_more_fails_and_leaves_nothing_behind(server, tmp_path):
    folder = tmp_path / "full"
    folder.mkdir()
    command = f"ulimit -f 100; exec {sys.executable} -m ltx2_client generate x --num-inference-steps 2 -o a.mp4"
    environment = {**os.environ, "LTX_SERVER": server.url, "PYTHONPATH": ROOT}
    ran = subprocess.run(
        ["bash", "-c", command], check=False, cwd=folder, env=environment, capture_output=True, timeout=PATIENCE_S
    )
    assert ran.returncode == 1
    assert b"error: a.mp4 cannot be written: File too large\n" in ran.stderr
    assert b"Traceback" not in ran.stderr
    assert not list(folder.iterdir())


@pytest.mark.parametrize("how", ["full", "closed", "gone"])
def test_an_output_that_takes_nothing_ends_without_a_traceback(server, tmp_path, how):
    redirect = {"full": "> /dev/full", "closed": ">&-", "gone": "| true"}[how]
    command = f"{sys.executable} -m ltx2_client health {redirect}; echo status ${{PIPESTATUS[0]}}"
    environment = {**os.environ, "LTX_SERVER": server.url, "PYTHONPATH": ROOT}
    ran = subprocess.run(
        ["bash", "-c", command], check=False, env=environment, capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert "Traceback" not in ran.stderr
    assert "Exception ignored" not in ran.stderr
    assert f"status {0 if how == 'closed' else 1}" in ran.stdout
    assert len(ran.stderr.splitlines()) == (1 if how == "full" else 0) + len(server_notices(ran.stderr))


def server_notices(err: str) -> list[str]:
    return [line for line in err.splitlines() if not line.startswith("error:")]


def test_ctrl_c_while_the_server_does_not_answer_ends_at_once():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        process = subprocess.Popen(
            [sys.executable, "-m", "ltx2_client", "tasks"],
            env={**os.environ, "LTX_SERVER": f"http://127.0.0.1:{silent.getsockname()[1]}", "PYTHONPATH": ROOT},
            stderr=subprocess.PIPE,
            text=True,
        )
        with silent.accept()[0]:
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, err) == (130, "")
