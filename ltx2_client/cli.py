"""The `ltx2` command. It writes results to stdout and all other text to stderr."""

import argparse
import contextlib
import io
import os
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from rich.console import Console

from ltx2_client.cli_args import options, parser
from ltx2_client.client import Client
from ltx2_client.errors import ApiError, ClientError, UsageError
from ltx2_client.media import AudioOptions, ChangeOptions, ControlOptions, ExtendOptions, RetakeOptions
from ltx2_client.operations import Options, check_target, new_idempotency_key
from ltx2_client.progress import ProgressLine, activity
from ltx2_client.responses import Submitted, Task
from ltx2_client.transport import KEY_VARIABLE, PROXIES

HEADINGS = ("task", "created", "state", "progress", "model")
POLL_INTERVAL_S = 1.0
CANCEL_TIMEOUT_S = 5.0
"""Short, because after Ctrl-C the user does not want to wait for a server that does not answer."""
ENDINGS = {
    "video": "mp4",
    "poster": "jpg",
    "audio": "audio.wav",
    "last_frame": "last_frame.png",
    "thumbnail": "thumbnail.jpg",
    "spritesheet": "spritesheet.jpg",
    "webm": "video.webm",
    "mov": "video.mov",
    "gif": "video.gif",
}
"""The end of the name under which each file is saved."""
MODEL_NOTES = {
    "ltx2-demo": "this server has the demo model, not LTX-2: it draws a colored shape that moves, with a tone",
    "tiny-random-ltx2": "this server has only the tiny random-weight model: the video will be NOISE",
}
"""What is printed about a model that is not LTX-2."""
OK, FAILED, WRONG_USE, INTERRUPTED = 0, 1, 2, 130
NO_KEY, UNKNOWN_ROUTE = 401, 405


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 1 for an error, 2 for wrong usage, 130 for Ctrl-C."""
    _settle_streams()
    _settle_proxies()
    console = Console(stderr=True, highlight=False)
    try:
        status = _parse_and_run(argv, console)
        if sys.stdout is not None:
            sys.stdout.flush()
    except ClientError as error:
        _explain(error, console)
        return WRONG_USE if isinstance(error, UsageError) else FAILED
    except BrokenPipeError:  # the reader closed the pipe, as `head` does: print no error
        _drop_output()
        return FAILED
    except OSError as error:
        _drop_output()
        _explain(error, console)
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    return status


def _parse_and_run(argv: Sequence[str] | None, console: Console) -> int:
    try:
        arguments = parser().parse_args(argv)
    except SystemExit as end:  # after --help, or after argparse wrote an error to stderr
        return WRONG_USE if end.code else OK
    commands = {
        **dict.fromkeys(("generate", "a2v", "retake", "extend", "v2v", "control"), _generate),
        "tasks": _tasks,
        "download": _download,
        "cancel": _cancel,
        "health": _health,
    }
    with Client(getattr(arguments, "server", None), poll_interval_s=POLL_INTERVAL_S) as client:
        return commands[arguments.command](client, arguments, console)


def _settle_streams() -> None:
    """Write characters that the terminal cannot encode as escapes. By default they would raise UnicodeEncodeError."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _settle_proxies() -> None:
    """Replace socks:// in the proxy variables by socks5://. Desktops write it for SOCKS 5; httpx does not accept it."""
    for name in PROXIES:
        for spelling in (name, name.lower()):
            if os.environ.get(spelling, "").startswith("socks://"):
                os.environ[spelling] = os.environ[spelling].replace("socks://", "socks5://", 1)


def _drop_output() -> None:
    """Discard buffered output. Otherwise the interpreter would try to write it again at exit."""
    if sys.stdout is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _write(text: str) -> None:
    """Write one line of the result. Does nothing if the shell has closed stdout."""
    if sys.stdout is not None:
        sys.stdout.write(f"{text}\n")


def _generate(client: Client, arguments: argparse.Namespace, console: Console) -> int:
    check_target(arguments.output or Path("ltx2.mp4"))
    key, submitted = new_idempotency_key(), None
    with ProgressLine(console) as line:
        try:
            submitted = _submit(client, arguments, key)
            _announce(submitted, console)
            task = client.wait(submitted.task_id, line)
        except KeyboardInterrupt:
            _give_up(client, arguments, key, submitted, console)
            return INTERRUPTED
    try:
        path = client.download(task, arguments.output or Path(f"ltx2_{task.task_id}.mp4"))
    except BaseException:
        _say(console, f"the video stays at {task.url}")
        raise
    _write(str(path))
    return OK


def _submit(client: Client, arguments: argparse.Namespace, key: str) -> Submitted:
    prompt = arguments.prompt
    if arguments.command == "retake":
        return client.submit_retake(prompt, arguments.video, key=key, **options(arguments, RetakeOptions))
    if arguments.command == "extend":
        return client.submit_extend(prompt, arguments.video, key=key, **options(arguments, ExtendOptions))
    if arguments.command == "v2v":
        return client.submit_video_to_video(prompt, arguments.video, key=key, **options(arguments, ChangeOptions))
    images = {"image": arguments.image, "end_image": arguments.end_image}
    if arguments.command == "a2v":
        given = options(arguments, AudioOptions)
        return client.submit_audio_to_video(prompt, arguments.audio, **images, key=key, **given)
    images["keyframes"] = arguments.keyframe
    if arguments.command == "control":
        control = options(arguments, ControlOptions)
        return client.submit_control_video(prompt, arguments.video, **images, key=key, **control)
    return client.submit(prompt, **images, key=key, **options(arguments, Options))


def _announce(submitted: Submitted, console: Console) -> None:
    _say(console, f"task {submitted.task_id}, seed {submitted.seed}")
    if note := MODEL_NOTES.get(submitted.model):
        _say(console, note)


def _give_up(
    client: Client, arguments: argparse.Namespace, key: str, submitted: Submitted | None, console: Console
) -> None:
    """Cancel the task.

    If the submit got no answer, the task id is unknown. So the same submit is sent again to get it.
    """
    retry_timeout_s = 0.0 if submitted is None else CANCEL_TIMEOUT_S
    with Client(client.server, retry_timeout_s=retry_timeout_s) as brief, contextlib.suppress(KeyboardInterrupt):
        try:
            task_id = (submitted or _submit(brief, arguments, key)).task_id
            _say(console, f"task {task_id}: {brief.cancel(task_id).outcome.replace('_', ' ')}")
        except ClientError as error:
            _explain(_in_words(error), console)


def _download(client: Client, arguments: argparse.Namespace, _console: Console) -> int:
    target = arguments.output or Path(f"ltx2_{arguments.task_id}.{ENDINGS[arguments.file]}")
    check_target(target)
    _write(str(client.download(client.poll(arguments.task_id), target, arguments.file)))
    return OK


def _cancel(client: Client, arguments: argparse.Namespace, _console: Console) -> int:
    try:
        canceled = client.cancel(arguments.task_id)
    except ApiError as error:
        raise _in_words(error) from error
    _write(f"{canceled.task_id}: {canceled.outcome.replace('_', ' ')}")
    return OK


def _tasks(client: Client, arguments: argparse.Namespace, _console: Console) -> int:
    page = client.tasks(*arguments.state, limit=arguments.limit)
    if sys.stdout is not None and sys.stdout.isatty():
        _write_table([HEADINGS, *(_shown(task) for task in page.tasks)])
        return OK
    for task in page.tasks:
        row = (
            task.task_id,
            _when(task.created_at, "%Y-%m-%dT%H:%M:%S%z"),
            task.state,
            f"{task.progress:g}",
            task.model,
        )
        _write("\t".join(" ".join(cell.split()) for cell in row))
    return OK


def _shown(task: Task) -> tuple[str, ...]:
    """A row for a terminal."""
    return task.task_id, _when(task.created_at, "%Y-%m-%d %H:%M"), activity(task), f"{task.progress:.0%}", task.model


def _write_table(rows: Sequence[Sequence[str]]) -> None:
    """Write rows with aligned columns. Text is not cut: a narrow terminal wraps it."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        _write("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _when(seconds: float, shape: str) -> str:
    try:
        return datetime.fromtimestamp(seconds).astimezone().strftime(shape)
    except (OverflowError, ValueError, OSError):
        return "-"


def _health(client: Client, _arguments: argparse.Namespace, console: Console) -> int:
    health = client.health()
    model = health.model or {}
    _write(f"{client.server}: {health.status}")
    if model:
        _write(f"model: {model.get('name')}, {model.get('state')}")
    if health.queue is not None:
        counts = ", ".join(f"{count} {state}" for state, count in health.queue.items())
        _write(f"tasks: {counts or 'none'}")
    for notice in (*health.notices, *([health.reason] if health.reason else [])):
        _say(console, notice)
    return OK if health.status == "ok" else FAILED


def _in_words(error: ClientError) -> ClientError:
    """Replace the error of a server version that cannot cancel tasks by a clear message."""
    if isinstance(error, ApiError) and error.status == UNKNOWN_ROUTE:
        return ClientError("this server cannot cancel tasks")
    return error


def _explain(error: Exception, console: Console) -> None:
    _say(console, f"error: {error}")
    if isinstance(error, ApiError) and error.status == NO_KEY:
        _say(console, f"  the key is taken from {KEY_VARIABLE}")
    if isinstance(error, ApiError) and error.field:
        for name in ("field", "given", "allowed"):
            _say(console, f"  {name:8}{getattr(error, name)}")


def _say(console: Console, text: str) -> None:
    console.print(text, markup=False, soft_wrap=True)
