"""What a token may do, judged by the code that judges requests."""

import asyncio

from sqlalchemy import Connection

from entrepot.catalog import tokens
from entrepot.catalog.tokens import TokenRow
from entrepot.model.nouns import RepositoryName, Role
from entrepot.observe.clock import FixedClock
from entrepot.web import auth


def judge(conn: Connection, text: str, now_s: int, repository: RepositoryName | None, role: Role) -> TokenRow:
    """The token of this text, if it may act so at this second; raises Refusal as a request would be answered."""

    async def lookup(wanted: str) -> TokenRow | None:
        return tokens.by_text(conn, wanted)

    row = asyncio.run(auth.Tokens(lookup, FixedClock(now_s)).identify((text,), "192.0.2.1"))
    auth.require(row, role, repository)
    return row
