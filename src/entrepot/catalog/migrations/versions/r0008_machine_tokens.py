"""Tokens that a machine made at its set-up know the token that they were made with."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Copy the table with a column more: SQLite adds no foreign key to one that is there."""
    key = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    with op.batch_alter_table("token") as batch:
        batch.add_column(sa.Column("parent_id", key, nullable=True))
        batch.create_foreign_key("token_parent_id", "token", ["parent_id"], ["id"])
    op.create_index("token_parent", "token", ["parent_id"], unique=False)


def downgrade() -> None:
    """Not offered: go back with a backup."""
    raise NotImplementedError("restore the backup that was made before the upgrade")
