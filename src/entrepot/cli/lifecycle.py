"""Joins what watches over a node and ends it: condition, probes, agent-check, steward and life."""

import os
import random
import secrets
import socket
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass

from entrepot import __version__
from entrepot.catalog.engine import Catalog
from entrepot.cli.build_operations import build_operations, operations_handlers
from entrepot.disk.watch import Volumes
from entrepot.intake.intake import Intake
from entrepot.node.admin import AdminServer
from entrepot.node.agent import AgentServer
from entrepot.node.condition import Standing
from entrepot.node.dates import Dates
from entrepot.node.life import Life, LifeSettings
from entrepot.node.listener import Listener
from entrepot.node.notify import Notifier, supervised
from entrepot.node.permits import FleetPermits, LonePermits
from entrepot.node.ports import check_free
from entrepot.node.probes import Probes
from entrepot.node.retire import Policy, Retirement
from entrepot.node.steward import Steward
from entrepot.node.tls import Tls
from entrepot.observe.clock import Clock
from entrepot.observe.health import CheckResult, HealthRegistry, Heartbeat
from entrepot.settings.sources import Settings
from entrepot.web.app import App
from entrepot.web.call import Peers
from entrepot.web.operations import Operations

HUNG_S_MAX = 60.0
"""A call to a disk that has not come back for this long fails `/livez`: the volume was refused long before, and nothing
in this process can end the call."""


def check_ports(settings: Settings, inherited: socket.socket | None) -> None:
    """Raises AddressError for the first address of the node that cannot be had. Args: ``inherited`` is the main port
    where it is open already.
    """
    server = settings.server
    if inherited is None:
        check_free(server.listen_address, "--listen")
    check_free(server.admin_address, "--admin-listen")
    if server.agent_address is not None:
        check_free(server.agent_address, "the setting server.agent_listen")


@dataclass(frozen=True, slots=True)
class Lifecycle:
    """The parts that outlive the start: what :meth:`life` runs with."""

    settings: Settings
    clock: Clock
    standing: Standing
    heartbeat: Heartbeat
    notifier: Notifier
    probes: Probes
    operations: Operations
    steward: Steward

    def life(
        self,
        app: App,
        intake: Intake,
        http_server: str,
        on_started: Callable[[], None],
        tls: Tls | None,
        inherited: socket.socket | None,
    ) -> Life:
        """The node's life; the steward may end it from then on. ``on_started`` runs in a thread once the port is
        open; ``inherited`` is the port that is open already.
        """
        server = self.settings.server
        wanted = LifeSettings(
            server.listen_address,
            server.drain_wait_s,
            server.stop_wait_s,
            self.settings.node.retire_wait_s,
            http_server,
            server.unread_s_max,
            self.settings.limits.connections_per_address_max,
        )

        def started() -> None:
            on_started()
            self.steward.start()

        life = Life(
            app, wanted, clock=self.clock, standing=self.standing, heartbeat=self.heartbeat, probes=self.probes,
            notifier=self.notifier, uploads_in_flight=lambda: intake.slots.active, on_started=started, tls=tls,
            is_proxy=Peers.parse(server.trusted_proxies).trusts, inherited=inherited,
        )  # fmt: skip
        self.steward.retire = life.retire
        return life


def begin(
    settings: Settings,
    stack: ExitStack,
    clock: Clock,
    standing: Standing,
    dates: Dates,
    *,
    catalog: Catalog,
    health: HealthRegistry,
    volumes: Volumes,
    reclaim: Callable[[], None],
    details: Callable[[], Mapping[str, object]],
) -> Lifecycle:
    """Open the addresses of probes and agent-check, which answer from here on; ``stack`` closes them. ``reclaim`` frees
    what can be freed; ``details`` are further parts of ``/statusz``. Raises OSError.
    """
    notifier = Notifier.from_environment(os.environ, os.getpid())
    heartbeat = Heartbeat(clock, "the event loop")
    health.add("clock", dates.check)
    steward = _steward(settings, catalog, standing, notifier, clock, dates, reclaim)
    probes = Probes(
        version=__version__, clock=clock, heartbeat=heartbeat, health=health, standing=standing, volumes=volumes,
        ledger=volumes.watch_of("blobs").ledger, stalled=lambda: _stalled(volumes),
        details=lambda: {**steward.status(), **details()},
    )  # fmt: skip
    operations = build_operations(probes.document, volumes.all, clock, stack)
    handlers = probes.handlers() | operations_handlers(operations)
    listeners: list[Listener] = [AdminServer(settings.server.admin_address, handlers)]
    if settings.server.agent_address is not None:
        listeners.append(AgentServer(settings.server.agent_address, standing.now))
    for listener in listeners:
        listener.start()
        stack.callback(listener.stop)
    return Lifecycle(settings, clock, standing, heartbeat, notifier, probes, operations, steward)


def _stalled(volumes: Volumes) -> CheckResult:
    hung_s = volumes.hung_s()
    return (
        CheckResult(True)
        if hung_s <= HUNG_S_MAX
        else CheckResult(False, f"the disk has not answered for {hung_s:.0f} s")
    )


def _steward(
    settings: Settings,
    catalog: Catalog,
    standing: Standing,
    notifier: Notifier,
    clock: Clock,
    dates: Dates,
    reclaim: Callable[[], None],
) -> Steward:
    """Who supervises the node is read in the process's environment, unless a setting says it."""
    wanted = settings.node
    permits = FleetPermits(catalog, clock, secrets.token_hex(8)) if catalog.shared else LonePermits()
    policy = Policy(
        supervised=supervised(os.environ, os.getpid()) if wanted.supervised is None else wanted.supervised,
        lone=permits.lone,
        memory_bytes_max=wanted.memory_bytes_max,
        # Nodes that were started together must not become old together.
        age_s_max=None if wanted.age_s_max is None else wanted.age_s_max * random.uniform(0.9, 1.1),
    )
    return Steward(Retirement(policy, clock.monotonic()), permits, standing, notifier, clock, dates, reclaim=reclaim)
