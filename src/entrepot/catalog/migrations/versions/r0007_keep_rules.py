"""Repositories may say how many versions of each package they keep."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table, and the mark of files that a rule took out."""
    key = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "keep_rule",
        sa.Column("repository_id", key, nullable=False),
        sa.Column("distribution", sa.String(), nullable=False),
        sa.Column("versions", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["repository_id"], ["repository.id"]),
        sa.PrimaryKeyConstraint("repository_id", "distribution"),
    )
    op.add_column("file", sa.Column("superseded", sa.Integer(), server_default=sa.text("0"), nullable=False))


def downgrade() -> None:
    """Not offered: go back with a backup."""
    raise NotImplementedError("restore the backup that was made before the upgrade")
