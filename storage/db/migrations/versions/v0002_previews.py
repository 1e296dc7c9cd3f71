"""Adds the step of a task's newest preview."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column. It may be null, so that an older version of the server can still insert tasks."""
    op.add_column("tasks", sa.Column("preview_step", sa.Integer))


def downgrade() -> None:
    """Drop the column."""
    op.drop_column("tasks", "preview_step")
