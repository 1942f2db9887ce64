"""Membership against a model: what each scope lists at each of its changes."""

import atexit
import itertools
import tempfile
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from sqlalchemy import select

from entrepot.catalog import files, repositories, schema, tokens
from entrepot.catalog.engine import Catalog
from entrepot.catalog.rows import ScopeUse
from entrepot.model.errors import Refusal
from entrepot.model.nouns import RepositoryName, Ticket
from tests.catalog.helpers import DISTRIBUTION, NOW, a_deb, listed, open_catalog, put

NAMES = st.sampled_from(["a", "b", "c", "d"])
BODIES = st.sampled_from(["one", "two", "three"])
SCOPES = ("s1", "s2")
WHERE = st.sets(st.sampled_from(SCOPES), min_size=1)


NUMBERS = itertools.count()


@cache
def shared_catalog() -> Catalog:
    """One catalog for every example: each has a repository of its own in it, and making a catalog takes longer than
    an example.
    """
    folder = tempfile.TemporaryDirectory()
    catalog = open_catalog(Path(folder.name))
    atexit.register(folder.cleanup)
    atexit.register(catalog.close)
    catalog.submit(lambda conn: tokens.ensure_owner(conn, "acme", NOW))
    return catalog


class Membership(RuleBasedStateMachine):
    """Goal: the listing at every change is the model's. Method: random add, replace, yank and unyank; compare all
    changes.
    """

    def __init__(self) -> None:
        super().__init__()
        self.catalog = shared_catalog()
        name = RepositoryName("acme", f"r{next(NUMBERS)}")
        self.repository_id = self.catalog.submit(lambda conn: repositories.create(conn, name, False, NOW)).id
        self.live: dict[str, tuple[int, str, frozenset[str]]] = {}
        self.yanked: dict[int, tuple[str, str, frozenset[str]]] = {}
        self.history: dict[str, list[frozenset[str]]] = {}
        self.scope_ids: dict[str, int] = {}

    def _now(self, scope: str) -> frozenset[str]:
        return frozenset(f"{name}_1.0_amd64.deb" for name, (_id, _body, where) in self.live.items() if scope in where)

    def _changed(self, scopes: set[str], tickets: tuple[Ticket, ...]) -> None:
        """Exactly these scopes advanced, each by one."""
        with self.catalog.read() as conn:
            for name, scope_id in conn.execute(
                select(schema.scope.c.name, schema.scope.c.id).where(schema.scope.c.repository_id == self.repository_id)
            ):
                self.scope_ids[name] = scope_id
        for scope in scopes:
            self.history.setdefault(scope, []).append(self._now(scope))
        expected = {(self.scope_ids[scope], len(self.history[scope])) for scope in scopes}
        assert {(ticket.scope_id, ticket.change) for ticket in tickets} == expected

    @rule(name=NAMES, body=BODIES, where=WHERE, replaces=st.booleans())
    def add(self, name: str, body: str, where: set[str], replaces: bool) -> None:
        uses = tuple(ScopeUse(scope, "debian", listed=True) for scope in sorted(where))
        new = a_deb(self.repository_id, name, content=f"{name} {body}", replaces=replaces)
        there = self.live.get(name)
        if there is not None and there[1] != body and not replaces:
            with pytest.raises(Refusal, match="name_taken"):
                put(self.catalog, new, uses=uses)
            return
        outcome = put(self.catalog, new, uses=uses)
        if there is not None and there[1] == body:
            assert not outcome.created
            return
        changed = set(where)
        if there is not None:
            changed |= there[2]
            self.yanked[there[0]] = (name, there[1], there[2])
        self.live[name] = (outcome.file_id, body, frozenset(where))
        self._changed(changed, outcome.tickets)

    @rule(names=st.sets(NAMES))
    def yank(self, names: set[str]) -> None:
        chosen = {name: self.live[name] for name in names if name in self.live}
        tickets = self.catalog.submit(lambda conn: files.yank(conn, [each[0] for each in chosen.values()], NOW))
        changed: set[str] = set()
        for name, (file_id, body, where) in chosen.items():
            del self.live[name]
            self.yanked[file_id] = (name, body, where)
            changed |= where
        self._changed(changed, tickets)

    @rule(data=st.data())
    def unyank(self, data: st.DataObject) -> None:
        if not self.yanked:
            return
        file_id = data.draw(st.sampled_from(sorted(self.yanked)))
        name, body, where = self.yanked[file_id]
        if name in self.live:
            with pytest.raises(Refusal, match="name_taken"):
                self.catalog.submit(lambda conn: files.unyank(conn, [file_id], NOW))
            return
        tickets = self.catalog.submit(lambda conn: files.unyank(conn, [file_id], NOW))
        del self.yanked[file_id]
        self.live[name] = (file_id, body, where)
        self._changed(set(where), tickets)

    @invariant()
    def every_change_lists_what_the_model_does(self) -> None:
        with self.catalog.read() as conn:
            for scope, states in self.history.items():
                for change, state in enumerate(states, start=1):
                    assert listed(conn, self.scope_ids[scope], change) == sorted(state)
            found = files.list_files(conn, self.repository_id)
            assert {row.name for row in found} == set(self.live)
            assert all(row.distribution == DISTRIBUTION for row in found)
            repository = repositories.by_id(conn, self.repository_id)
        assert repository is not None
        assert repository.file_count == len(self.live)
        assert repository.used_bytes == sum(len(f"{name} {body}") for name, (_id, body, _where) in self.live.items())
        assert repository.yanked_bytes == sum(len(f"{name} {body}") for name, body, _where in self.yanked.values())


TestMembership = pytest.mark.timeout(300)(Membership.TestCase)
TestMembership.settings = settings(
    max_examples=12, stateful_step_count=15, deadline=None, suppress_health_check=list(HealthCheck)
)
