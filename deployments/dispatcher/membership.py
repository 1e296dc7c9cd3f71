"""The place of one dispatcher among those on its database: may it claim, and how many tasks at once."""

import math
import time

from storage.sql.dispatcher_registry import DispatcherRegistration, MembershipStatus, SqlDispatcherRegistry

EXPIRY_S = 10.0
"""A dispatcher that has been silent for so long no longer counts."""
HEARTBEAT_S = 2.0


class DispatcherMembership:
    """Keeps the row of this dispatcher fresh. `in_flight` is what all dispatchers of the app hand out together."""

    def __init__(self, store: SqlDispatcherRegistry, me: DispatcherRegistration, in_flight: int) -> None:
        self._store = store
        self._me = me
        self._in_flight = in_flight
        self._standing = MembershipStatus(may_claim=False, num_dispatchers=1, is_leader=False)
        self._stood_at = -math.inf

    def heartbeat(self, *, ready: bool) -> None:
        """Look again, if it is time. Blocks; raises StoreUnavailable."""
        if ready == self._me.ready and time.monotonic() - self._stood_at < HEARTBEAT_S:
            return
        self._me = DispatcherRegistration(self._me.name, self._me.app, self._me.model, ready)
        self._standing = self._store.heartbeat(self._me, EXPIRY_S)
        self._stood_at = time.monotonic()

    @property
    def in_flight_limit(self) -> int:
        """How many tasks this dispatcher may have at the Generators: its part, rounded up, of what all may have."""
        return math.ceil(self._in_flight / max(self._standing.num_dispatchers, 1)) if self._standing.may_claim else 0

    @property
    def is_leader(self) -> bool:
        """Whether this dispatcher speaks for all: the first by name of those that may claim."""
        return self._standing.may_claim and self._standing.is_leader

    def deregister(self) -> None:
        """Make room for the others at once. Blocks; raises StoreUnavailable."""
        self._store.deregister(self._me.name)
