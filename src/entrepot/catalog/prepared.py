"""Statements of the upload path: built and compiled by SQLAlchemy once, then run on the driver's cursor.

Core's execution costs about five times what SQLite needs for a small statement, and an upload runs a dozen inside the
writer lane, where every microsecond holds up everyone else. Values are plain (text, integers, bytes, None), so no
type conversion is lost; errors come as the driver's own and are translated by ``entrepot.catalog.engine`` all the
same. Only for connections in a transaction.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Delete, Insert, Select, Update


class Prepared:
    """One statement. ``columns``: for an INSERT, the columns whose values are given."""

    __slots__ = ("_columns", "_dialect", "_fixed", "_order", "_sql", "_statement")

    def __init__(
        self, statement: Select[*tuple[Any, ...]] | Insert | Update | Delete, columns: Sequence[str] = ()
    ) -> None:
        self._statement = statement
        self._columns = list(columns)
        self._dialect = ""
        self._sql = ""
        self._order: list[str] | None = None
        self._fixed: dict[str, Any] = {}  # values that stand in the statement itself

    def _compile(self, conn: Connection) -> None:
        compiled = self._statement.compile(dialect=conn.dialect, column_keys=self._columns or None)
        self._fixed = {name: value for name, value in compiled.params.items() if value is not None}
        self._order = list(compiled.positiontup) if compiled.positiontup is not None else None
        self._sql = str(compiled)
        self._dialect = conn.dialect.name

    def _run(self, conn: Connection, values: Mapping[str, object]) -> Any:
        if self._dialect != conn.dialect.name:
            self._compile(conn)
        given = {**self._fixed, **values} if self._fixed else values
        cursor = conn.connection.cursor()
        cursor.execute(self._sql, [given[name] for name in self._order] if self._order is not None else given)
        return cursor

    def run(self, conn: Connection, values: Mapping[str, object]) -> None:
        """Execute; the statement returns no rows."""
        self._run(conn, values).close()

    def first(self, conn: Connection, values: Mapping[str, object]) -> tuple[Any, ...] | None:
        """The first row, or None."""
        cursor = self._run(conn, values)
        row: tuple[Any, ...] | None = cursor.fetchone()
        cursor.close()
        return row

    def one(self, conn: Connection, values: Mapping[str, object]) -> tuple[Any, ...]:
        """The only row. Raises LookupError when there is none."""
        row = self.first(conn, values)
        if row is None:
            raise LookupError("the statement returned no row")
        return row

    def all(self, conn: Connection, values: Mapping[str, object]) -> list[tuple[Any, ...]]:
        """Every row."""
        cursor = self._run(conn, values)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
        cursor.close()
        return rows

    def many(self, conn: Connection, rows: Sequence[Mapping[str, object]]) -> None:
        """Execute once for each of ``rows``."""
        for values in rows:
            self.run(conn, values)
