"""``entrepot serve``: builds every part of a node from the settings, runs it, and takes it apart again.

The one place where all floors meet; nothing here decides anything beyond what is joined to what.
"""

import asyncio
import os
import socket
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

import typer
import uvloop

from entrepot import __version__
from entrepot.catalog import repositories
from entrepot.catalog.engine import Catalog
from entrepot.catalog.publications import ScopeRow
from entrepot.catalog.revision import CatalogTooNew
from entrepot.catalog.tokens import derived_text
from entrepot.children.pool import ChildLimits, ChildPool
from entrepot.cli import frame, lifecycle
from entrepot.cli.build_disk import open_store, open_volumes, room, storage_check
from entrepot.cli.build_lookouts import build_lookouts
from entrepot.cli.build_tls import build_tls, own_port_context, tls_details
from entrepot.cli.start_errors import explain
from entrepot.disk.watch import Volumes
from entrepot.formats.registry import formats
from entrepot.intake.admit import IntakeLimits
from entrepot.intake.inspect import PRELOAD, RESULT_TYPES
from entrepot.intake.intake import Intake
from entrepot.model.errors import Refusal
from entrepot.node import activation
from entrepot.node.arenas import bound_arenas
from entrepot.node.canary.loop import Canary, CanarySetup
from entrepot.node.certificate import TlsError
from entrepot.node.condition import Standing
from entrepot.node.dates import Dates
from entrepot.node.first import first_start
from entrepot.node.folder import DataFolder, FolderError
from entrepot.node.keyring import Keyring
from entrepot.node.life import Life
from entrepot.node.lost_keys import check_keys
from entrepot.node.mounted import check_mounted
from entrepot.node.ports import AddressError
from entrepot.node.preserve import preserving
from entrepot.node.recorder import activity
from entrepot.node.tls import Tls
from entrepot.node.upkeep import Upkeep
from entrepot.observe import logs
from entrepot.observe.clock import Clock, SystemClock
from entrepot.observe.health import Draining, HealthRegistry
from entrepot.publish.publisher import Publisher
from entrepot.publish.reader import Reader
from entrepot.publish.scope import Identity
from entrepot.publish.segments import SegmentStore
from entrepot.publish.transaction import Shown
from entrepot.settings.sources import Settings, SettingsError, effective, load
from entrepot.signing.keys import KeyMaterial, PublicKey
from entrepot.signing.proof import Prover
from entrepot.signing.seal import Sealer, new_secret
from entrepot.web.app import App
from entrepot.web.call import Peers
from entrepot.web.limits import RequestLimits
from entrepot.web.services import Services, WebSettings, Workers

# The folder's lock lets one process at a time be this node: the next one takes its leases and its canary over at once.
NODE = "folder"
EXIT_USAGE = 2
EXIT_FAILED = 1


def run(server: Mapping[str, Any], config: Path | None, http_server: str, *, replace_lost_keys: bool = False) -> int:
    """Run a node to its end; the exit code: 0 stopped when asked, 1 could not start or failed, 2 a setting is wrong, 75
    the node ended itself to be started anew.
    """
    try:
        inherited = activation.inherited(os.environ, os.getpid())
        # The address of a port that is open already is no choice any more.
        listen = {} if inherited is None else {"listen": activation.address_text(inherited)}
        settings = load(config, {"server": {**server, **listen}})
    except AddressError as error:
        typer.echo(f"entrepot: {error}", err=True)
        return EXIT_FAILED
    except SettingsError as error:
        typer.echo(f"entrepot: {error}", err=True)
        return EXIT_USAGE
    bound_arenas()
    logs.configure(settings.logs.level, settings.logs.format)
    # A data folder that was made beforehand may be open to everybody: what lies in it is the server's alone.
    os.umask(0o077)
    try:
        with ExitStack() as stack:
            life = build(settings, stack, http_server, inherited, replace_lost_keys=replace_lost_keys)
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                return runner.run(life.run())
    except (FolderError, AddressError, TlsError) as error:
        typer.echo(f"entrepot: {error}", err=True)
    except (CatalogTooNew, Refusal, OSError) as error:
        typer.echo(f"entrepot: {explain(error, settings.server.data_folder)}", err=True)
    return EXIT_FAILED


def leave(code: int) -> NoReturn:
    """End the process. When nobody reads standard output, without the interpreter's farewell: it would wait for the
    buffer that the stuck writer holds, and a supervisor would have to kill the node.
    """
    if not logs.close():
        os._exit(code)
    sys.exit(code)


def build(
    settings: Settings, stack: ExitStack, http_server: str, inherited: socket.socket | None, *, replace_lost_keys: bool
) -> Life:
    """Build a node; ``stack`` takes it apart in reverse order; ``inherited`` is its main port, where that is open
    already; ``replace_lost_keys``: make new signing keys for those that the secret does not open.

    Raises FolderError, AddressError, TlsError, CatalogTooNew, Refusal, OSError.
    """
    clock = SystemClock()
    lifecycle.check_ports(settings, inherited)
    tls = build_tls(settings.server, clock, stack)
    folder = stack.enter_context(DataFolder.open(settings.server.data_folder))
    secret = _secret(settings, folder, replace_lost_keys=replace_lost_keys)
    volumes = open_volumes(settings.disk, folder.path, clock, stack)
    catalog = _catalog(folder, volumes, stack)
    check_keys(catalog, Sealer(secret), clock, _secret_place(settings, folder), replace=replace_lost_keys)
    check_mounted(catalog, folder.path / "blobs")
    store = open_store(folder.path, volumes, stack)
    inspections = settings.upload.inspection_processes
    children = stack.enter_context(ChildPool(ChildLimits(size=inspections), preload=PRELOAD, result_types=RESULT_TYPES))
    key_children, keyring = _keyring(settings, catalog, secret, clock, stack)
    segments = SegmentStore(store)
    reader = Reader(catalog, segments, clock)
    dates = Dates(clock)
    publisher = _publisher(settings, catalog, segments, keyring, reader, dates)
    intake = Intake(
        catalog, store, room(volumes, publisher), children, formats(), clock,
        IntakeLimits(settings.upload.upload_bytes_max, settings.upload.uploads_at_once_max),
        threads=settings.server.worker_threads, inspections=inspections, pressed=volumes.pressed,
    )  # fmt: skip
    stack.callback(intake.close)
    upkeep = Upkeep(catalog, store, clock, keyring, publisher, settings, volumes, dates)
    lookouts = build_lookouts(settings, folder, catalog, store, volumes, clock, stack)
    health = _health(volumes, tls)
    standing = Standing(volumes.all, Draining())
    canary = Canary(
        catalog, formats(), keyring, publisher, store, clock, CanarySetup.of(settings, NODE),
        stopping=lambda: standing.draining.stopping, tls=own_port_context(settings, tls),
    )  # fmt: skip
    cycle = lifecycle.begin(
        settings, stack, clock, standing, dates, catalog=catalog, health=health, volumes=volumes,
        reclaim=upkeep.reclaim, details=lambda: {
            **activity(publisher.lag_s()), **lookouts.details(), "canary": canary.status(), **tls_details(tls),
        },
    )  # fmt: skip
    services = Services(
        settings=_web_settings(settings), catalog=catalog, store=store, intake=intake, publisher=publisher,
        reader=reader, formats=formats(), clock=clock, workers=_workers(settings, stack), health=health,
        draining=standing.draining, on_repository=keyring.prepare, keys=keyring,
        derive=partial(derived_text, secret),
        collect=upkeep.collect, disk_use=upkeep.disk_use, prove=Prover(secret).prove, operations=cycle.operations,
    )  # fmt: skip
    upkeep.take_used_tokens = services.tokens.take_used
    publisher.start()
    # Making a key takes seconds: a stop does not wait for it, the next start makes it again.
    ends = (publisher.stop, upkeep.stop, canary.stop, key_children.close, upkeep.ask_to_stop, cycle.steward.stop)
    for end in ends:  # the last one first
        stack.callback(end)
    welcome = first_start(
        folder, catalog, clock, settings.server.url, show_token=sys.stdout.isatty(), program=frame.program()
    )

    def on_started() -> None:
        # Only now is the port open: who reads this line may push.
        logs.say(f"{welcome or ''}Entrepot {__version__} is ready: {settings.server.url}")
        children.prestart(inspections)
        upkeep.start()
        canary.start()
        lookouts.start()

    return cycle.life(App(services), intake, http_server, on_started, tls, inherited)


def _health(volumes: Volumes, tls: Tls | None) -> HealthRegistry:
    health = HealthRegistry()
    health.add("storage", lambda: storage_check(volumes))
    if tls is not None:
        health.add("tls", tls.check)
    return health


def _workers(settings: Settings, stack: ExitStack) -> Workers:
    threads = settings.server.worker_threads
    sizes = {"sql": threads, "files": threads, "keys": 2}
    return Workers(**{name: stack.enter_context(ThreadPoolExecutor(size, name)) for name, size in sizes.items()})


def _keyring(
    settings: Settings, catalog: Catalog, secret: bytes, clock: Clock, stack: ExitStack
) -> tuple[ChildPool, Keyring]:
    """The keyring, and the child that makes its keys."""
    # Making an RSA key takes seconds: a pool of its own, whose child ends when there is nothing to make.
    children = stack.enter_context(
        ChildPool(
            ChildLimits(size=1, idle_s=10.0),
            preload=("entrepot.signing.make", "entrepot.signing.bring"),
            result_types=(KeyMaterial, PublicKey),
        )
    )
    keyring = Keyring(
        catalog, Sealer(secret), children, clock, formats(),
        algorithm=settings.signing.default_algorithm, user_id=_host(settings.server.url),
    )  # fmt: skip
    return children, keyring


def _publisher(
    settings: Settings, catalog: Catalog, segments: SegmentStore, keyring: Keyring, reader: Reader, dates: Dates
) -> Publisher:
    def on_shown(row: ScopeRow, shown: Shown) -> None:
        reader.on_shown(row, shown)
        dates.saw(shown.date_s)

    return Publisher(
        catalog, segments, formats(), keyring.signers.get, partial(_identity, catalog, _host(settings.server.url)),
        SystemClock(), holder=NODE, on_shown=on_shown,
    )  # fmt: skip


def _catalog(folder: DataFolder, volumes: Volumes, stack: ExitStack) -> Catalog:
    catalog = Catalog(folder.catalog_url, observer=volumes.watch_of("catalog"))
    stack.callback(catalog.close)
    catalog.migrate(preserving(folder.path, volumes.watch_of("catalog").ledger))
    return catalog


def _secret_place(settings: Settings, folder: DataFolder) -> str:
    return str(folder.path / "secret") if settings.signing.secret is None else "the setting signing.secret"


def _secret(settings: Settings, folder: DataFolder, *, replace_lost_keys: bool) -> bytes:
    if settings.signing.secret is not None:
        return bytes.fromhex(settings.signing.secret.get_secret_value())
    return folder.secret(new_secret() if folder.fresh or replace_lost_keys else None)


def _host(url: str) -> str:
    parts = urlsplit(url)
    return parts.netloc + parts.path


def _identity(catalog: Catalog, host: str, repository_id: int) -> Identity:
    with catalog.read() as conn:
        row = repositories.by_id(conn, repository_id)
    if row is None:
        raise Refusal("repository_unknown")
    return Identity(f"{host}/{row.name}", row.name.name)


def _web_settings(settings: Settings) -> WebSettings:
    return WebSettings(
        public_url=settings.server.url,
        peers=Peers.parse(settings.server.trusted_proxies),
        publication_wait_s=settings.upload.publication_wait_s,
        rate_min_bytes_per_s=settings.upload.rate_bytes_per_s_min,
        refusal_delay_s=settings.disk.refusal_delay_s,
        limits=RequestLimits(**settings.limits.model_dump()),
        effective=effective(settings),
    )
