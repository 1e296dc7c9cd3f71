"""Adds how many frames of a result the model renders, for estimates and turns."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column. It may be null, so that an older version of the server can still insert tasks."""
    op.add_column("tasks", sa.Column("rendered_frames", sa.Integer))


def downgrade() -> None:
    """Drop the column."""
    op.drop_column("tasks", "rendered_frames")
