"""The place of one dispatcher among those on its database: may it claim, and how many tasks at once."""

import math
import time

from storage.apps import Dispatching, SqlAppStore, Standing

ALIVE_S = 10.0
"""A dispatcher that has been silent for so long no longer counts."""
STAND_EVERY_S = 2.0


class Place:
    """Keeps the row of this dispatcher fresh. `in_flight` is what all dispatchers of the app hand out together."""

    def __init__(self, store: SqlAppStore, me: Dispatching, in_flight: int) -> None:
        self._store = store
        self._me = me
        self._in_flight = in_flight
        self._standing = Standing(may_claim=False, sharing=1, first=False)
        self._stood_at = -math.inf

    def update(self, *, ready: bool) -> None:
        """Look again, if it is time. Blocks; raises StoreUnavailable."""
        if ready == self._me.ready and time.monotonic() - self._stood_at < STAND_EVERY_S:
            return
        self._me = Dispatching(self._me.name, self._me.app, self._me.model, ready)
        self._standing = self._store.stand(self._me, ALIVE_S)
        self._stood_at = time.monotonic()

    @property
    def share(self) -> int:
        """How many tasks this dispatcher may have at the Generators: its part, rounded up, of what all may have."""
        return math.ceil(self._in_flight / max(self._standing.sharing, 1)) if self._standing.may_claim else 0

    @property
    def first(self) -> bool:
        """Whether this dispatcher speaks for all: the first by name of those that may claim."""
        return self._standing.may_claim and self._standing.first

    def leave(self) -> None:
        """Make room for the others at once. Blocks; raises StoreUnavailable."""
        self._store.leave(self._me.name)
