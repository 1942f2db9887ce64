"""One key may sign for several repositories, keys say when they end, and there are public keys of signed packages."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_KEPT = "id, repository_id, algorithm, fingerprint, public_armored, secret_sealed, created_at, retired_at"


def upgrade() -> None:
    """Copy the table: a fingerprint was unique in all of it. Keys that were made here never end."""
    key = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.rename_table("signing_key", "signing_key_until_0005")
    op.create_table(
        "signing_key",
        sa.Column("id", key, autoincrement=True, nullable=False),
        sa.Column("repository_id", key, nullable=True),
        sa.Column("algorithm", sa.String(), nullable=False),
        sa.Column("fingerprint", sa.String(), nullable=False),
        sa.Column("user_id", sa.String(), nullable=False, server_default=""),
        sa.Column("imported", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("public_armored", sa.Text(), nullable=False),
        sa.Column("secret_sealed", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=True),
        sa.Column("retired_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["repository_id"], ["repository.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("repository_id", "fingerprint"),
    )
    op.execute(f"INSERT INTO signing_key ({_KEPT}) SELECT {_KEPT} FROM signing_key_until_0005")
    op.drop_table("signing_key_until_0005")
    op.create_table(
        "package_key",
        sa.Column("id", key, autoincrement=True, nullable=False),
        sa.Column("repository_id", key, nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("fingerprint", sa.String(), nullable=False),
        sa.Column("user_id", sa.String(), nullable=False),
        sa.Column("public_armored", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["repository_id"], ["repository.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("repository_id", "name"),
        sa.UniqueConstraint("repository_id", "fingerprint"),
    )


def downgrade() -> None:
    """Not offered: go back with a backup."""
    raise NotImplementedError("restore the backup that was made before the upgrade")
