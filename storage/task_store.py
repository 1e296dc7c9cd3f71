"""The task store: all operations that create, claim, change and end task rows.

Each write of a worker is a compare-and-set on (task, claim token) and returns whether it succeeded. All methods block,
so call them from a thread. All raise StoreUnavailable when the database does not answer.

Each user declares the class of queries that it needs, in storage/sql: `ApiQueries` and `PositionQueries` for the
Ingress, `ClaimQueries` and `DispatcherQueries` for the Dispatcher, `WorkerQueries` for what runs a task,
`ReplicaQueries` for what Generators report, `UsageQueries`, `WebhookQueries`, `PauseQueries` and `SecretQueries`.
"""

from collections.abc import Callable, Mapping

from models.ltx2.options import FAST_GUIDANCE_FRACTION
from storage.db.engine import open_engine
from storage.fair_queue import Quota
from storage.sql.api_queries import ApiQueries, SecretQueries
from storage.sql.claims import ClaimQueries, PauseQueries
from storage.sql.dispatchers import DispatcherQueries
from storage.sql.positions import PositionQueries
from storage.sql.replicas import ReplicaQueries
from storage.sql.usage import UsageQueries
from storage.sql.webhooks import WebhookQueries
from storage.sql.workers import WorkerQueries
from storage.tasks import Task


class SqlTaskStore(
    ApiQueries,
    PositionQueries,
    ClaimQueries,
    DispatcherQueries,
    WorkerQueries,
    UsageQueries,
    PauseQueries,
    ReplicaQueries,
    SecretQueries,
    WebhookQueries,
):
    """The task store on SQLite or PostgreSQL."""

    @classmethod
    def open(
        cls,
        url: str,
        on_end: Callable[[Task], None] | None = None,
        quotas: Mapping[str, Quota] | None = None,
        fast_guidance_fraction: float = FAST_GUIDANCE_FRACTION,
    ) -> "SqlTaskStore":
        """Open the database at `url`. The tables must exist (`storage.db.engine.migrate`)."""
        return cls(open_engine(url), on_end, quotas, fast_guidance_fraction)

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()
