"""What probes say: each endpoint answers one question, for one kind of consumer (docs/operate.md).

Causes that a restart or another node cannot cure (the volume of the packages, a full bucket, a read-only database) fail
no probe: taking nodes away would only spread the trouble.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace

from entrepot.disk.ledger import Ledger
from entrepot.disk.state import State
from entrepot.disk.watch import Volumes
from entrepot.node.admin import Handler, Reply
from entrepot.node.condition import Standing
from entrepot.observe import metrics
from entrepot.observe.clock import Clock
from entrepot.observe.health import Check, HealthRegistry, Heartbeat


class Probes:
    """The answers, all from memory. ``stalled`` is a check beside the heartbeat's whose failure means: kill it."""

    def __init__(
        self,
        *,
        version: str,
        clock: Clock,
        heartbeat: Heartbeat,
        health: HealthRegistry,
        ledger: Ledger,
        volumes: Volumes,
        standing: Standing,
        stalled: Check,
        details: Callable[[], Mapping[str, object]],
    ) -> None:
        self._version = version
        self._clock = clock
        self._heartbeat = heartbeat
        self._health = health
        self._ledger = ledger
        self._volumes = volumes
        self._standing = standing
        self._stalled = stalled
        self._details = details
        self._started = clock.monotonic()
        self._started_at = clock.now()
        metrics.node_start_time_seconds.set(self._started_at)

    def handlers(self) -> dict[str, Handler]:
        """Path → answer, for the admin address."""
        return {
            "/livez": self.livez,
            "/readyz": self.readyz,
            "/readyz/upload": self.readyz_upload,
            "/statusz": self.statusz,
            "/metrics": self.metrics,
        }

    def livez(self) -> Reply:
        """Do the event loop and the disk's calls move? Failing means: kill it."""
        for check in (self._heartbeat.check, self._stalled):
            found = check()
            if not found.ok:
                return Reply(503, (found.cause + "\n").encode())
        return Reply(200, b"ok\n")

    def readyz(self) -> Reply:
        """May this node serve reads? Start-up done, not stopping; never about disk or database."""
        draining = self._standing.draining
        if draining.stopping and not draining.handing_over:
            return Reply(503, b"stopping\n")
        return Reply(200, b"ok\n") if self._standing.ready else Reply(503, b"starting\n")

    def readyz_upload(self) -> Reply:
        """Should uploads go to another node? This node's own causes alone; the state is said whatever the answer."""
        reply = self.readyz()
        now = self._standing.now()
        if self._standing.draining.stopping:
            reply = Reply(503, b"stopping\n")
        elif reply.status == 200:
            text = "\n".join([now.state, *now.causes, ""])
            reply = Reply(503 if now.keep_away else 200, text.encode())
        return replace(reply, headers=(f"X-Entrepot-State: {now.state}",))

    def statusz(self) -> Reply:
        """Everything, with causes, for people."""
        return Reply(200, json.dumps(self.document(), indent=2).encode() + b"\n", "application/json")

    def document(self) -> dict[str, object]:
        """What ``/statusz`` shows, from memory; any thread."""
        reserved = self._ledger.snapshot()
        return {
            "version": self._version,
            "uptime_s": round(self._clock.monotonic() - self._started, 1),
            "started_at": round(self._started_at, 3),
            "stopping": self._standing.draining.stopping,
            "node_state": self._standing.now().state,
            "requests_in_flight": self._standing.draining.in_flight,
            "loop_age_s": round(self._heartbeat.age_s(), 3),
            "checks": {name: {"ok": result.ok, "cause": result.cause} for name, result in self._health.run().items()},
            "reservations": {
                "count": reserved.reservations,
                "bytes": reserved.outstanding_bytes,
                "inodes": reserved.outstanding_inodes,
            },
            "volumes": [asdict(status) for status in self._volumes.all()],
            **self._details(),
        }

    def metrics(self) -> Reply:
        """Prometheus' text format."""
        now = self._standing.now().state
        for state in State:
            metrics.node_state.labels(state).set(state is now)
        self._volumes.export()
        metrics.clock_seconds.set(self._clock.now())
        return Reply(200, metrics.render(), metrics.CONTENT_TYPE)
