"""When the decoding of a task began: its denoising and what comes after it are told apart."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column."""
    op.add_column("tasks", sa.Column("decoding_at", sa.Float))


def downgrade() -> None:
    """Drop the column."""
    op.drop_column("tasks", "decoding_at")
