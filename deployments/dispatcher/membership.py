"""Membership of one Dispatcher among those on its database: whether it may claim, and how many tasks at once."""

import math
import time

from storage.sql.dispatcher_registry import DispatcherRegistration, MembershipStatus, SqlDispatcherRegistry

EXPIRY_S = 10.0
"""A Dispatcher without a heartbeat for this long no longer counts."""
HEARTBEAT_S = 2.0


class DispatcherMembership:
    """Keeps this Dispatcher's row fresh. `in_flight` is how many tasks all Dispatchers of the app hand out at once."""

    def __init__(self, store: SqlDispatcherRegistry, me: DispatcherRegistration, in_flight: int) -> None:
        self._store = store
        self._me = me
        self._in_flight = in_flight
        self._standing = MembershipStatus(may_claim=False, num_dispatchers=1, is_leader=False)
        self._stood_at = -math.inf

    def heartbeat(self, *, ready: bool) -> None:
        """Write the heartbeat and read the membership, if it is time. Blocks; raises StoreUnavailable."""
        if ready == self._me.ready and time.monotonic() - self._stood_at < HEARTBEAT_S:
            return
        self._me = DispatcherRegistration(self._me.name, self._me.app, self._me.model, ready)
        self._standing = self._store.heartbeat(self._me, EXPIRY_S)
        self._stood_at = time.monotonic()

    @property
    def in_flight_limit(self) -> int:
        """How many tasks this Dispatcher may have at the Generators: its equal share of `in_flight`, rounded up."""
        return math.ceil(self._in_flight / max(self._standing.num_dispatchers, 1)) if self._standing.may_claim else 0

    @property
    def is_leader(self) -> bool:
        """Whether this Dispatcher exports the queue gauges: it is the first by name of those that may claim."""
        return self._standing.may_claim and self._standing.is_leader

    def deregister(self) -> None:
        """Delete the row, so that the other Dispatchers take over at once. Blocks; raises StoreUnavailable."""
        self._store.deregister(self._me.name)
