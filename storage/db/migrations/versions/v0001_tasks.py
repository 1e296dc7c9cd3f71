"""Creates the first version of all tables."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

Sequence = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "tasks",
        sa.Column("sequence", Sequence, primary_key=True, autoincrement=True),
        sa.Column("id", sa.String(64), nullable=False, unique=True),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("model", sa.String(255), nullable=False),
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("request", sa.Text, nullable=False),
        sa.Column("explicit_fields", sa.Text, nullable=False),
        sa.Column("base_url", sa.Text, nullable=False),
        sa.Column("input_key", sa.Text),
        sa.Column("request_id", sa.String(128)),
        sa.Column("traceparent", sa.String(64)),
        sa.Column("claim_token", sa.Integer, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("requeues", sa.Integer, nullable=False),
        sa.Column("dispatcher", sa.String(255)),
        sa.Column("lease_until", sa.Float),
        sa.Column("stage", sa.String(16)),
        sa.Column("step", sa.Integer, nullable=False),
        sa.Column("adjustments", sa.Text),
        sa.Column("progress", sa.Float, nullable=False),
        sa.Column("bytes_done", sa.BigInteger, nullable=False),
        sa.Column("bytes_total", sa.BigInteger, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("started_at", sa.Float),
        sa.Column("rendering_at", sa.Float),
        sa.Column("decoding_at", sa.Float),
        sa.Column("finished_at", sa.Float),
        sa.Column("deadline_at", sa.Float),
        sa.Column("output_key", sa.Text),
        sa.Column("poster_key", sa.Text),
        sa.Column("duration_s", sa.Float),
        sa.Column("size_bytes", sa.BigInteger),
        sa.Column("error", sa.Text),
        sa.Column("error_code", sa.String(64)),
        sa.Column("retryable", sa.Boolean),
        sqlite_autoincrement=True,
    )
    op.create_index("tasks_by_state", "tasks", ["state", "sequence"])
    op.create_index("tasks_by_owner", "tasks", ["state", "owner", "sequence"])
    op.create_index("tasks_by_end", "tasks", ["state", "finished_at"])
    queue, in_queue = ["model", "owner", "sequence"], sa.text("state = 'queued'")
    op.create_index("tasks_in_queue", "tasks", queue, sqlite_where=in_queue, postgresql_where=in_queue)
    held, due = sa.text("dispatcher IS NOT NULL"), sa.text("finished_at IS NULL AND deadline_at IS NOT NULL")
    op.create_index("tasks_by_dispatcher", "tasks", ["dispatcher"], sqlite_where=held, postgresql_where=held)
    op.create_index("tasks_by_deadline", "tasks", ["deadline_at"], sqlite_where=due, postgresql_where=due)
    op.create_table(
        "idempotency_keys",
        sa.Column("owner", sa.String(64), primary_key=True),
        sa.Column("key", sa.String(255), primary_key=True),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("task_id", sa.String(64), nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
    )
    op.create_index("idempotency_keys_by_age", "idempotency_keys", ["created_at"])
    op.create_table(
        "fair_queue_state",
        sa.Column("owner", sa.String(64), primary_key=True),
        sa.Column("start", sa.Float, nullable=False),
        sa.Column("finish", sa.Float, nullable=False),
    )
    op.create_table(
        "usage",
        sa.Column("owner", sa.String(64), primary_key=True),
        sa.Column("day", sa.String(10), primary_key=True),
        sa.Column("runs", sa.BigInteger, nullable=False),
        sa.Column("gpu_s", sa.Float, nullable=False),
    )
    op.create_table(
        "secrets",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("value", sa.String(64), nullable=False),
    )
    op.create_table(
        "webhook_deliveries",
        sa.Column("sequence", Sequence, primary_key=True, autoincrement=True),
        sa.Column("id", sa.String(64), nullable=False, unique=True),
        sa.Column("task_id", sa.String(64), nullable=False),
        sa.Column("url", sa.Text, nullable=False),
        sa.Column("delivery_group", sa.String(320), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("task", sa.Text),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("due_at", sa.Float, nullable=False),
        sa.Column("last_error", sa.Text),
        sa.Column("created_at", sa.Float, nullable=False),
        sqlite_autoincrement=True,
    )
    pending = sa.text("state = 'pending'")
    op.create_index("webhook_deliveries_by_task", "webhook_deliveries", ["task_id"])
    op.create_index("webhook_deliveries_by_age", "webhook_deliveries", ["created_at"])
    op.create_index(
        "webhook_deliveries_due",
        "webhook_deliveries",
        ["delivery_group", "due_at"],
        sqlite_where=pending,
        postgresql_where=pending,
    )
    op.create_table(
        "replicas",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("model", sa.String(255), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("bytes_done", sa.BigInteger, nullable=False),
        sa.Column("bytes_total", sa.BigInteger, nullable=False),
        sa.Column("free_vram_bytes", sa.BigInteger),
        sa.Column("updated_at", sa.Float, nullable=False),
    )
    op.create_table(
        "served_models",
        sa.Column("model", sa.String(255), primary_key=True),
        sa.Column("served_at", sa.Float, nullable=False),
        sa.Column("profile", sa.Text),
        sa.Column("free_vram_bytes", sa.BigInteger),
    )
    op.create_table("pauses", sa.Column("paused_at", sa.Float, primary_key=True))
    op.create_table(
        "deploys",
        sa.Column("number", Sequence, primary_key=True, autoincrement=True),
        sa.Column("started_at", sa.Float, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "dispatchers",
        sa.Column("name", sa.String(255), primary_key=True),
        sa.Column("app", sa.BigInteger, nullable=False),
        sa.Column("model", sa.String(255), nullable=False),
        sa.Column("ready", sa.Boolean, nullable=False),
        sa.Column("alive_until", sa.Float, nullable=False),
    )


def downgrade() -> None:
    """Drop the tables."""
    op.drop_table("dispatchers")
    op.drop_table("deploys")
    op.drop_table("pauses")
    op.drop_table("served_models")
    op.drop_table("replicas")
    op.drop_table("secrets")
    op.drop_table("webhook_deliveries")
    op.drop_table("usage")
    op.drop_table("fair_queue_state")
    op.drop_table("idempotency_keys")
    op.drop_table("tasks")
