"""Owners have quotas, and yanked files are charged until they are collected."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns and take the sums of what is yanked by now."""
    op.add_column("owner", sa.Column("quota_bytes", sa.BigInteger(), nullable=True))
    column = sa.Column("yanked_bytes", sa.BigInteger(), server_default=sa.text("0"), nullable=False)
    op.add_column("repository", column)
    op.execute(
        "UPDATE repository SET yanked_bytes = (SELECT coalesce(sum(size_bytes), 0) FROM file"
        " WHERE file.repository_id = repository.id AND yanked_at IS NOT NULL)"
    )
