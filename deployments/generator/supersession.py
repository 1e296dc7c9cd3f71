"""Whether a newer server has taken over: then this one's Generators are wanted no longer."""

import logging
from contextlib import suppress

from models.errors import StoreUnavailable
from storage.sql.dispatcher_registry import SqlDispatcherRegistry

logger = logging.getLogger("ray.serve")


class Supersession:
    """What is known of the servers that are newer than app number `app` and serve the same model."""

    def __init__(self, apps: SqlDispatcherRegistry, app: int, model_name: str) -> None:
        self._apps = apps
        self._app = app
        self._model_name = model_name
        self.known = False
        """As the last look found it. It ends when the newer server dies, and this one claims again."""

    def check_app(self) -> None:
        """Ask the database. While it is away, what was known last counts."""
        with suppress(StoreUnavailable):
            found = self._apps.is_superseded(self._app, self._model_name)
            if found and not self.known:
                logger.info("a newer server runs: this Generator goes as soon as it has no task")
            self.known = found
