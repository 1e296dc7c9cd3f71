"""`ltx2`: the client as a command. Results go to stdout, all else to stderr."""

import argparse
import contextlib
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from ltx2_client.arguments import options, parser
from ltx2_client.client import Client
from ltx2_client.errors import ClientError, Refused
from ltx2_client.progress import ProgressLine, activity
from ltx2_client.records import Submitted
from ltx2_client.talks import check_target, new_key
from ltx2_client.wire import KEY_VARIABLE

POLL_INTERVAL_S = 1.0
CANCEL_PATIENCE_S = 5.0
"""Whoever pressed Ctrl-C does not want to wait for a server that is away."""
OK, FAILED, INTERRUPTED = 0, 1, 130
NO_KEY, UNKNOWN_ROUTE = 401, 405


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 1 for an error, 130 for Ctrl-C."""
    arguments = parser().parse_args(argv)
    console = Console(stderr=True, highlight=False)
    commands = {"generate": _generate, "tasks": _tasks, "cancel": _cancel, "health": _health}
    try:
        with Client(getattr(arguments, "server", None), poll_interval_s=POLL_INTERVAL_S) as client:
            return commands[arguments.command](client, arguments, console)
    except (ClientError, OSError) as error:
        _explain(error, console)
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED


def _generate(client: Client, arguments: argparse.Namespace, console: Console) -> int:
    check_target(arguments.output or Path("ltx2.mp4"))
    key, submitted = new_key(), None
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
    sys.stdout.write(f"{path}\n")
    return OK


def _submit(client: Client, arguments: argparse.Namespace, key: str) -> Submitted:
    return client.submit(arguments.prompt, image=arguments.image, key=key, **options(arguments))


def _announce(submitted: Submitted, console: Console) -> None:
    _say(console, f"task {submitted.task_id}, seed {submitted.seed}")
    if submitted.model.startswith("tiny-random"):
        _say(console, "this server has only the tiny random-weight model: the video will be NOISE")


def _give_up(
    client: Client, arguments: argparse.Namespace, key: str, submitted: Submitted | None, console: Console
) -> None:
    """Cancel what was begun. Whether a submit without an answer made a task, only the same submit again can tell."""
    patience_s = 0.0 if submitted is None else CANCEL_PATIENCE_S
    with Client(client.server, patience_s=patience_s) as brief, contextlib.suppress(KeyboardInterrupt):
        try:
            task_id = (submitted or _submit(brief, arguments, key)).task_id
            _say(console, f"task {task_id}: {brief.cancel(task_id).outcome.replace('_', ' ')}")
        except ClientError as error:
            _explain(_in_words(error), console)


def _cancel(client: Client, arguments: argparse.Namespace, _console: Console) -> int:
    try:
        canceled = client.cancel(arguments.task_id)
    except Refused as error:
        raise _in_words(error) from error
    sys.stdout.write(f"{canceled.task_id}: {canceled.outcome.replace('_', ' ')}\n")
    return OK


def _tasks(client: Client, arguments: argparse.Namespace, _console: Console) -> int:
    page = client.tasks(*arguments.state, limit=arguments.limit)
    table = Table("task", "created", "state", "progress", "model", box=None, pad_edge=False)
    for task in page.tasks:
        created = datetime.fromtimestamp(task.created_at).astimezone().strftime("%Y-%m-%d %H:%M")
        table.add_row(task.task_id, created, activity(task), f"{task.progress:.0%}", task.model)
    Console(highlight=False, markup=False).print(table)
    return OK


def _health(client: Client, _arguments: argparse.Namespace, console: Console) -> int:
    health = client.health()
    model = health.model or {}
    sys.stdout.write(f"{client.server}: {health.status}\n")
    if model:
        sys.stdout.write(f"model: {model.get('name')}, {model.get('state')}\n")
    if health.queue is not None:
        counts = ", ".join(f"{count} {state}" for state, count in health.queue.items())
        sys.stdout.write(f"tasks: {counts or 'none'}\n")
    for notice in (*health.notices, *([health.reason] if health.reason else [])):
        _say(console, notice)
    return OK if health.status == "ok" else FAILED


def _in_words(error: ClientError) -> ClientError:
    """A server of an earlier version does not know how to cancel."""
    if isinstance(error, Refused) and error.status == UNKNOWN_ROUTE:
        return ClientError("this server cannot cancel tasks")
    return error


def _explain(error: Exception, console: Console) -> None:
    _say(console, f"error: {error}")
    if isinstance(error, Refused) and error.status == NO_KEY:
        _say(console, f"  the key is taken from {KEY_VARIABLE}")
    if isinstance(error, Refused) and error.field:
        for name in ("field", "given", "allowed"):
            _say(console, f"  {name:8}{getattr(error, name)}")


def _say(console: Console, text: str) -> None:
    console.print(text, markup=False, soft_wrap=True)
