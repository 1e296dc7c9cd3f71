"""The app on a port, in its own process: `python -m tests.ingress.server_process PORT FOLDER SETTINGS`."""

import asyncio
import json
import sys
from pathlib import Path

import uvicorn

from deployments.ingress.app import create_app
from deployments.ingress.context import AppContext
from deployments.settings import Settings
from storage.db.engine import migrate, open_engine
from storage.outputs.local import LocalOutputStore
from storage.task_store import SqlTaskStore


async def nudge() -> None:
    """Do nothing: no task is rendered."""
    await asyncio.sleep(0)


def main(port: str, folder: str, values: str) -> None:
    settings = Settings(**json.loads(values))
    engine = open_engine(f"sqlite:///{folder}/tasks.db")
    migrate(engine)
    tasks = SqlTaskStore(engine, quotas=settings.quotas)
    app = create_app(AppContext(settings, "m", tasks, LocalOutputStore(Path(folder) / "store"), nudge))
    uvicorn.run(app, host="127.0.0.1", port=int(port), log_level="error")


if __name__ == "__main__":
    main(*sys.argv[1:])
