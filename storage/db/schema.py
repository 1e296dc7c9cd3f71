"""The tables as SQLAlchemy Core definitions. The migrations create them; a test compares the two."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Float,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    inspect,
    text,
)

metadata = MetaData()

Sequence = BigInteger().with_variant(Integer, "sqlite")
"""SQLite generates row numbers only for a column of type INTEGER."""

HELD = text("dispatcher IS NOT NULL")
DUE = text("finished_at IS NULL AND deadline_at IS NOT NULL")
PENDING = text("state = 'pending'")
IN_QUEUE = text("state = 'queued'")
"""Must have the same text in the index and in the query, or SQLite does not use the index."""

tasks = Table(
    "tasks",
    metadata,
    Column("sequence", Sequence, primary_key=True, autoincrement=True),
    Column("id", String(64), nullable=False, unique=True),
    Column("state", String(16), nullable=False),
    Column("model", String(255), nullable=False),
    Column("owner", String(64), nullable=False),
    Column("request", Text, nullable=False),
    Column(
        "explicit_fields", Text, nullable=False
    ),  # the parameters that the client set; the model's defaults apply to the others
    Column("base_url", Text, nullable=False),
    Column("input_key", Text),
    Column("source_task", String(64)),
    Column("rendered_frames", Integer),
    Column("request_id", String(128)),
    Column("traceparent", String(64)),
    Column("claim_token", Integer, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("requeues", Integer, nullable=False),
    Column("dispatcher", String(255)),
    Column("lease_until", Float),
    Column("stage", String(16)),
    Column("step", Integer, nullable=False),
    Column("preview_step", Integer),
    Column("adjustments", Text),
    Column("progress", Float, nullable=False),
    Column("bytes_done", BigInteger, nullable=False),
    Column("bytes_total", BigInteger, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("started_at", Float),
    Column("rendering_at", Float),
    Column("decoding_at", Float),
    Column("finished_at", Float),
    Column("deadline_at", Float),
    Column("output_key", Text),
    Column("poster_key", Text),
    Column("duration_s", Float),
    Column("size_bytes", BigInteger),
    Column("error", Text),
    Column("error_code", String(64)),
    Column("retryable", Boolean),
    Index("tasks_by_state", "state", "sequence"),
    Index("tasks_by_owner", "state", "owner", "sequence"),
    Index("tasks_by_end", "state", "finished_at"),
    # Partial indexes over unfinished rows: their size does not grow with the number of finished tasks.
    Index("tasks_in_queue", "model", "owner", "sequence", sqlite_where=IN_QUEUE, postgresql_where=IN_QUEUE),
    Index("tasks_by_dispatcher", "dispatcher", sqlite_where=HELD, postgresql_where=HELD),
    Index("tasks_by_deadline", "deadline_at", sqlite_where=DUE, postgresql_where=DUE),
    sqlite_autoincrement=True,
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("owner", String(64), primary_key=True),
    Column("key", String(255), primary_key=True),
    Column("digest", String(64), nullable=False),
    Column("task_id", String(64), nullable=False),
    Column("created_at", Float, nullable=False),
    Index("idempotency_keys_by_age", "created_at"),
)

# The virtual time of each owner: storage/fair_queue.py.
fair_queue_state = Table(
    "fair_queue_state",
    metadata,
    Column("owner", String(64), primary_key=True),
    Column("start", Float, nullable=False),
    Column("finish", Float, nullable=False),
)

usage = Table(
    "usage",
    metadata,
    Column("owner", String(64), primary_key=True),
    Column("day", String(10), primary_key=True),
    Column("runs", BigInteger, nullable=False),
    Column("gpu_s", Float, nullable=False),
)

# Random bytes shared by all processes, such as the secret that signs urls.
secrets = Table(
    "secrets",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("value", String(64), nullable=False),
)

# The outbox. `delivery_group` is an owner and a host. Groups take turns, so a host that hangs delays no other group.
webhook_deliveries = Table(
    "webhook_deliveries",
    metadata,
    Column("sequence", Sequence, primary_key=True, autoincrement=True),
    Column("id", String(64), nullable=False, unique=True),
    Column("task_id", String(64), nullable=False),
    Column("url", Text, nullable=False),
    Column("delivery_group", String(320), nullable=False),
    Column("state", String(16), nullable=False),
    Column("task", Text),
    Column("attempts", Integer, nullable=False),
    Column("due_at", Float, nullable=False),
    Column("last_error", Text),
    Column("created_at", Float, nullable=False),
    Index("webhook_deliveries_by_task", "task_id"),
    Index("webhook_deliveries_by_age", "created_at"),
    Index("webhook_deliveries_due", "delivery_group", "due_at", sqlite_where=PENDING, postgresql_where=PENDING),
    sqlite_autoincrement=True,
)

replicas = Table(
    "replicas",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("model", String(255), nullable=False),
    Column("state", String(16), nullable=False),
    Column("message", Text, nullable=False),
    Column("bytes_done", BigInteger, nullable=False),
    Column("bytes_total", BigInteger, nullable=False),
    Column("free_vram_bytes", BigInteger),
    Column("updated_at", Float, nullable=False),
)

served_models = Table(
    "served_models",
    metadata,
    Column("model", String(255), primary_key=True),
    Column("served_at", Float, nullable=False),
    Column("profile", Text),
    Column("free_vram_bytes", BigInteger),
)

# Has one row while an operator has paused claims, else none.
pauses = Table("pauses", metadata, Column("paused_at", Float, primary_key=True))

# Numbered deploys, and the Dispatchers of each. With two apps on one database, the newest ready one claims.
deploys = Table(
    "deploys",
    metadata,
    Column("number", Sequence, primary_key=True, autoincrement=True),
    Column("started_at", Float, nullable=False),
    sqlite_autoincrement=True,
)

dispatchers = Table(
    "dispatchers",
    metadata,
    Column("name", String(255), primary_key=True),
    Column("app", BigInteger, nullable=False),
    Column("model", String(255), nullable=False),
    Column("ready", Boolean, nullable=False),
    Column("alive_until", Float, nullable=False),
)


def missing_columns(connection: Connection) -> list[str]:
    """The columns that the database lacks, as `table.column`."""
    found = inspect(connection).get_multi_columns()
    there = {f"{table}.{column['name']}" for (_, table), columns in found.items() for column in columns}
    wanted = [f"{table.name}.{column.name}" for table in metadata.tables.values() for column in table.columns]
    return [each for each in wanted if each not in there]
