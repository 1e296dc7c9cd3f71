"""Adds the task whose video a task was made from."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column. It may be null, so that an older version of the server can still insert tasks."""
    op.add_column("tasks", sa.Column("source_task", sa.String(64)))


def downgrade() -> None:
    """Drop the column."""
    op.drop_column("tasks", "source_task")
