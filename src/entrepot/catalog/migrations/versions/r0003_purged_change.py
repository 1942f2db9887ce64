"""How far each scope's removals have been forgotten."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; what was purged before has left every index."""
    op.add_column("scope", sa.Column("purged_change", sa.BigInteger(), nullable=False, server_default="0"))


def downgrade() -> None:
    """Not offered: go back with a backup."""
    raise NotImplementedError("restore the backup that was made before the upgrade")
