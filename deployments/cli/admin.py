"""Commands for operators: `python -m deployments.cli.admin COMMAND`, with `check`, `pause`, `resume` and others.

The commands use the database named in `serve_config.yaml` and the environment. The server may run meanwhile. They do
not need Ray.
"""

import argparse
import secrets
import sqlite3
import sys
import time
from pathlib import Path

import yaml
from pydantic import ValidationError

from deployments.settings import ApiKey, Settings, SettingsError
from deployments.settings.api_keys import hash_key
from models.errors import StoreUnavailable
from storage.db.engine import open_engine, sqlite_file
from storage.db.sqlite import back_up, check_integrity
from storage.outputs.audit import audit_outputs
from storage.outputs.open_store import open_output_store
from storage.sql.retention import SqlRetentionStore
from storage.task_store import SqlTaskStore
from storage.tasks import State, Task

KEY_PREFIX = "ltx2_"
"""Makes a leaked key easy to recognize, for example in a log or in a repository."""
KEY_BYTES = 32
CHECK_INTERVAL_S = 1.0
MAX_KEYS_SHOWN = 50
ONLY_SQLITE = "the database is PostgreSQL: back it up with its own `pg_dump --format=custom`, by your own schedule"


class CommandError(Exception):
    """The command cannot be carried out. The message says why."""


def main(arguments: list[str] | None = None) -> str:
    """Run one command and return the text to print. Raises SystemExit with the reason when it fails."""
    asked = _parser().parse_args(arguments)
    try:
        return _run_command(asked)
    except (CommandError, SettingsError, StoreUnavailable, OSError, sqlite3.Error) as error:
        raise SystemExit(str(error)) from None


def _run_command(asked: argparse.Namespace) -> str:
    if asked.command == "new-key":
        return create_api_key(asked.name)
    settings = _settings(asked.config)
    if asked.command == "backup":
        return back_up_store(settings, asked.path)
    if asked.command == "requeue":
        return requeue_task(settings, asked.task_id)
    if asked.command == "webhook-secret":
        return create_webhook_secret(settings, asked.name)
    if asked.command == "drain":
        return drain_server(settings, asked.seconds)
    plain = {"check": check_store, "pause": pause_dispatch, "resume": resume_dispatch, "usage": show_usage}
    return plain[asked.command](settings)


def check_store(settings: Settings) -> str:
    """Check the database, count its tasks by state, and compare the output store with the task rows.

    Raises CommandError when the database is damaged, or when files of completed tasks are missing.
    """
    url = settings.database_url
    if settings.uses_sqlite and (damage := check_integrity(sqlite_file(url))):
        raise CommandError("the database is damaged; restore a backup:\n" + "\n".join(damage))
    tasks = _open(settings)
    found = [f"{count} {state}" for state, count in sorted(tasks.counts().items())]
    paused = "; claims are paused" if tasks.paused_at() is not None else ""
    whole = f"the database is whole; {', '.join(found)}{paused}"
    outputs = open_output_store(settings.outputs.url, settings.outputs.s3)
    audit = audit_outputs(SqlRetentionStore(open_engine(url)), outputs)
    if audit.missing:
        told = "\n".join(audit.missing[:MAX_KEYS_SHOWN])
        raise CommandError(
            f"{whole}\n{len(audit.missing)} files of completed tasks are missing from {settings.outputs.url}:\n{told}"
            + _and_more(audit.missing)
        )
    if audit.unneeded:
        told = "\n".join(audit.unneeded[:MAX_KEYS_SHOWN])
        return (
            f"{whole}\nevery completed task has its files; {len(audit.unneeded)} files that no task needs,"
            f" which a running server removes:\n{told}" + _and_more(audit.unneeded)
        )
    return f"{whole}\nevery completed task has its files, and no file is without a task"


def back_up_store(settings: Settings, target: Path) -> str:
    """Copy the SQLite database while the server runs. The output files are not copied: use any file copy tool."""
    if not settings.uses_sqlite:
        raise CommandError(ONLY_SQLITE)
    size_bytes = back_up(sqlite_file(settings.database_url), target)
    return f"{target}: {size_bytes} bytes"


def requeue_task(settings: Settings, task_id: str) -> str:
    """Put a failed task back into the queue. Raises CommandError when the task is missing or cannot run again."""
    tasks = _open(settings)
    task = tasks.get(task_id)
    if task is None:
        raise CommandError(f"there is no task {task_id}")
    if reason := _find_conflict(task):
        raise CommandError(f"task {task_id} stays as it is: {reason}")
    if not tasks.retry(task_id):
        raise CommandError(f"task {task_id} has changed meanwhile; check it again")
    return f"task {task_id} is queued again"


def pause_dispatch(settings: Settings) -> str:
    """Stop all servers on this database from starting tasks until `resume`. Running tasks continue to their end."""
    tasks = _open(settings)
    done = "paused" if tasks.pause() else "it was paused already"
    return f"{done}; {tasks.counts()[State.PROCESSING]} running tasks continue to their end, new tasks are queued"


def resume_dispatch(settings: Settings) -> str:
    """Let servers start tasks again."""
    return "resumed" if _open(settings).resume() else "it was not paused"


def drain_server(settings: Settings, seconds: float) -> str:
    """Pause, wait at most `seconds` for running tasks to end, then resume. Run it before the server is stopped.

    When an operator has paused the server before, it stays paused.
    """
    tasks = _open(settings)
    ours = tasks.pause()
    try:
        give_up = time.monotonic() + seconds
        while (running := tasks.counts()[State.PROCESSING]) and time.monotonic() < give_up:
            time.sleep(CHECK_INTERVAL_S)
    finally:
        if ours:
            tasks.resume()
    return f"{running} tasks still run" if running else "no task runs"


def show_usage(settings: Settings) -> str:
    """GPU seconds for each API key, month by month. Tasks without a key are listed under `-`."""
    counted: dict[tuple[str, str], tuple[int, float]] = {}
    for each in _open(settings).usage():
        month = (each.owner or "-", each.day[:7])
        runs, gpu_s = counted.get(month, (0, 0.0))
        counted[month] = (runs + each.runs, gpu_s + each.gpu_s)
    if not counted:
        return "nothing has been rendered yet"
    return "\n".join(
        f"{name:<24} {month} {runs:>7} runs {gpu_s:>12.1f} GPU seconds"
        for (name, month), (runs, gpu_s) in sorted(counted.items())
    )


def create_api_key(name: str) -> str:
    """Make an API key. The server stores only its hash, so the key is printed once and cannot be shown again."""
    key = KEY_PREFIX + secrets.token_urlsafe(KEY_BYTES)
    try:
        record = ApiKey(name=name, sha256=hash_key(key))
    except ValidationError:
        raise CommandError(
            "a name has 1 to 64 letters, digits and . _ @ -, and begins with a letter or digit"
        ) from None
    return (
        f"the key of {name}, which is shown only this once:\n\n  {key}\n\n"
        f"its record, for api_keys in the settings or for the list in LTX2_API_KEYS:\n\n"
        f"  {record.model_dump_json(exclude_defaults=True)}\n\n"
        "you may add max_queued, max_running and weight to the record; the server reads it at its start"
    )


def create_webhook_secret(settings: Settings, name: str) -> str:
    """The secret that the owner of the API key `name` verifies webhook signatures with."""
    owners = sorted({key.name for key in settings.api_keys})
    if name not in owners:
        raise CommandError(f"api_keys has no {name!r}; it has {', '.join(owners) or 'none'}")
    if not (secrets_of_name := settings.webhooks.secrets_of(name)):
        raise CommandError("webhooks.secret (LTX2_WEBHOOKS__SECRET) is not set: nothing is signed")
    return secrets_of_name[0]


def _and_more(keys: list[str]) -> str:
    more = len(keys) - MAX_KEYS_SHOWN
    return f"\nand {more} more" if more > 0 else ""


def _open(settings: Settings) -> SqlTaskStore:
    """Open an existing database. A mistyped path must not create a new one."""
    url = settings.database_url
    if settings.uses_sqlite and not sqlite_file(url).is_file():
        raise CommandError(f"there is no database at {sqlite_file(url)}")
    return SqlTaskStore.open(url)


def _find_conflict(task: Task) -> str | None:
    if task.state != State.FAILED:
        return f"it is {task.state}, and only a failed task can be queued again"
    if task.input_key is not None:
        return "its input image was deleted when it ended; submit the task again"
    return None


def _settings(config: Path) -> Settings:
    applications = yaml.safe_load(config.read_text())["applications"]
    return Settings.model_validate(applications[0].get("args") or {}).with_absolute_paths()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m deployments.cli.admin", description="Look after the server's database."
    )
    parser.add_argument("--config", type=Path, default=Path("serve_config.yaml"), help="the server's config file")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("check", help="check the database, count its tasks, and look for missing files")
    commands.add_parser("backup", help="copy the SQLite database while the server runs").add_argument("path", type=Path)
    commands.add_parser("pause", help="start no more tasks, on all servers that use the database")
    commands.add_parser("resume", help="start tasks again")
    drained = commands.add_parser("drain", help="before you stop the server: start no task, and wait for running tasks")
    drained.add_argument("seconds", type=float, help="maximum seconds to wait")
    commands.add_parser("requeue", help="put a failed task back into the queue").add_argument("task_id")
    commands.add_parser("usage", help="GPU seconds of each API key, by month")
    new = commands.add_parser("new-key", help="create an API key and its record for the settings")
    new.add_argument("name", help="the owner of the key")
    secret = commands.add_parser("webhook-secret", help="print the secret that a key's owner verifies webhooks with")
    secret.add_argument("name", help="the key's name in api_keys")
    return parser


if __name__ == "__main__":
    sys.stdout.write(main() + "\n")
