"""The installation's id: random, made once, and kept by a back-up and its return. Tells one catalog from another's."""

import secrets

from sqlalchemy import Connection, select

from entrepot.catalog.schema import meta

KEY = "installation"


def ensure(conn: Connection) -> str:
    """The id, made where there is none yet."""
    found = conn.execute(select(meta.c.value).where(meta.c.key == KEY)).scalar()
    if found is None:
        found = secrets.token_hex(16)
        conn.execute(meta.insert().values(key=KEY, value=found))
    return str(found)
