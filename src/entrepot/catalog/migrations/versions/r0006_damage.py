"""Copies that were found missing or damaged."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table; the scrub fills it."""
    op.create_table(
        "damage",
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("found_at", sa.BigInteger(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("key"),
    )


def downgrade() -> None:
    """Not offered: go back with a backup."""
    raise NotImplementedError("restore the backup that was made before the upgrade")
