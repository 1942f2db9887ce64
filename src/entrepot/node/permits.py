"""Who may retire now: a few of a fleet, by rows in the catalog that they share; a node that is alone, by itself."""

from typing import Protocol

from entrepot.catalog import nodes
from entrepot.catalog.engine import Catalog
from entrepot.model.errors import Refusal
from entrepot.node.retire import permits_of
from entrepot.observe.clock import Clock


class Permits(Protocol):
    """Asked by one thread. ``lone``: no other node can take over what this one does."""

    lone: bool

    def beat(self) -> None:
        """Show that this node is there. Never raises."""

    def ask(self) -> bool:
        """Whether this node may retire now. Never raises: what cannot be asked is not granted."""


class LonePermits:
    """For a node whose catalog is its own: nobody to ask, so nothing that needs a disk."""

    lone = True

    def beat(self) -> None:
        """Nobody looks."""

    def ask(self) -> bool:
        """Yes; whether a cause is worth being away for a moment is decided before."""
        return True


class FleetPermits:
    """For a node of several: ``name`` is its own and no other's, in time neither. One small write a beat."""

    lone = False

    def __init__(self, catalog: Catalog, clock: Clock, name: str) -> None:
        self._catalog = catalog
        self._clock = clock
        self._name = name
        self._started_at = clock.now_s()

    def beat(self) -> None:
        """Renew the row; a catalog that fails makes this node look dead for a while, which only means fewer permits."""
        now_s = self._clock.now_s()
        try:
            self._catalog.submit(lambda conn: nodes.beat(conn, self._name, self._started_at, now_s))
        except Refusal:
            return

    def ask(self) -> bool:
        """One of the permits, if one is free and the catalog can be written."""
        now_s = self._clock.now_s()
        try:
            return self._catalog.submit(lambda conn: nodes.take_permit(conn, self._name, now_s, permits_of))
        except Refusal:
            return False
