"""Detects that a newer server has taken over, so that the Generators of this one should end."""

import logging
from contextlib import suppress

from models.errors import StoreUnavailable
from storage.sql.dispatcher_registry import SqlDispatcherRegistry

logger = logging.getLogger("ray.serve")


class Supersession:
    """Whether a server newer than app number `app` serves the same model."""

    def __init__(self, apps: SqlDispatcherRegistry, app: int, model_name: str) -> None:
        self._apps = apps
        self._app = app
        self._model_name = model_name
        self.known = False
        """The result of the last check. It becomes False when the newer server dies and this server claims again."""

    def check_app(self) -> None:
        """Ask the database. While it is away, the last result stays."""
        with suppress(StoreUnavailable):
            found = self._apps.is_superseded(self._app, self._model_name)
            if found and not self.known:
                logger.info("a newer server runs: this Generator ends after its last task")
            self.known = found
