"""The running server, by its probes, by the address that it listens on, and by the URL that clients use."""

import email.utils
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from entrepot import __version__
from entrepot.cli.checks import Finding, failed, fine, skipped, warning
from entrepot.cli.checks.inside import compare_clocks
from entrepot.cli.keycheck import secret_of
from entrepot.client.answers import parse
from entrepot.client.config import Given, is_local, resolve
from entrepot.client.errors import ClientError, Problem
from entrepot.client.session import Answer, Session
from entrepot.disk.proc import lock_holder, named
from entrepot.node.folder import LOCK
from entrepot.node.ports import AddressError, check_free, joined
from entrepot.observe.clock import Clock
from entrepot.settings.concerns import ServerSettings
from entrepot.settings.sources import Settings
from entrepot.signing.proof import Prover, new_nonce

ANSWER_S = 10.0
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}


def check_server(folder: Path, server: ServerSettings) -> tuple[bool, list[Finding]]:
    """Whether a server answers on the admin address, and how it is."""
    host, port = server.admin_address
    url = f"http://{joined(_EVERYWHERE.get(host, host), port)}/statusz"
    try:
        with httpx.Client(trust_env=False, timeout=ANSWER_S) as client:
            status: dict[str, Any] = parse(client.get(url).content)
    except (httpx.HTTPError, ValueError) as error:
        return False, [_silent(folder, f"nothing answers on {url}: {error}")]
    found: list[Finding] = []
    if status.get("version") != __version__:
        found.append(warning("server", f"it is of version {status.get('version')}, this command of {__version__}"))
    if status.get("node_state") not in ("OK", "PRESSURE"):
        found.append(failed("server", f"its state is {status.get('node_state')}: `entrepot health` says why"))
    for name, check in status.get("checks", {}).items():
        if not check["ok"]:
            found.append(failed("server", f"{name}: {check['cause']}"))
    return True, found or [fine("server", f"version {__version__} is up and {status.get('node_state')}")]


def _silent(folder: Path, text: str) -> Finding:
    """No server answers where the settings say: none runs, or one that was given other addresses."""
    pid = lock_holder(folder / LOCK)
    if pid is None:
        return warning("server", text, "Start it, if it should run.")
    return failed(
        "server",
        f"{named(pid)} runs on {folder}, and {text}",
        "If it was started with --listen, --admin-listen or --public-url, write them into"
        f" {folder}/entrepot.toml, where this command finds them too. If not, it hangs: restart it.",
    )


def check_listen(folder: Path, settings: Settings, *, running: bool) -> Iterator[Finding]:
    """The server's own port: it is this folder's server, or free for it."""
    server = settings.server
    host, port = server.listen_address
    shown = f"{server.scheme}://{joined(_EVERYWHERE.get(host, host), port)}"
    prover = _prover(folder, settings)
    if not running:
        try:
            check_free(server.listen_address, "--listen")
        except AddressError as error:
            yield failed("listen", str(error))
        else:
            yield skipped("listen", f"{server.listen} is free")
        return
    if prover is None:
        yield skipped("listen", "without the secret nobody can be recognised")
        return
    nonce = new_nonce()
    try:
        # Here the certificate, whose name is the public one, says nothing; the proof does.
        with httpx.Client(trust_env=False, timeout=ANSWER_S, verify=False) as client:
            answer = client.get(f"{shown}/api/v2/proof", params={"nonce": nonce})
            mine = answer.status_code == 200 and parse(answer.content).get("proof") == prover.prove(nonce)
    except (httpx.HTTPError, ValueError, AttributeError) as error:
        yield failed("listen", f"{shown} does not answer: {error}")
        return
    if mine:
        yield fine("listen", f"{shown} is the server of {folder}")
    else:
        yield failed("listen", f"{shown} is another server than that of {folder}")


def check_public_url(folder: Path, settings: Settings, ca_file: Path | None, clock: Clock) -> Iterator[Finding]:
    """The URL that clients use, as they use it: DNS, TLS, proxies, and at the end this very server."""
    url = settings.server.url
    if settings.server.public_url is None:
        yield warning(
            "settings", "server.public_url is not set, so URLs are printed that begin with the listen address"
        )
    prover = _prover(folder, settings)
    if prover is None:
        yield skipped("public_url", "without the secret nobody can be recognised")
        return
    nonce = new_nonce()
    try:
        # No token: whoever answers there may not be ours.
        trusted = {name: os.environ[name] for name in ("ENTREPOT_CA_FILE",) if name in os.environ}
        connection = replace(resolve(Given(url, None, None, ca_file), trusted), token=None)
        with Session(connection, retry_for_s=0.0, answer_s=ANSWER_S) as session:
            answer = session.call("GET", "/api/v2/proof", query=[("nonce", nonce)], retries=False)
        document = answer.document()
    except Problem as problem:
        yield failed("public_url", f"{url} answers, and is no Entrepot of this version: {problem.detail}")
        return
    except ClientError as error:
        yield failed("public_url", f"{url}: {error.detail}", error.remedy)
        return
    if not isinstance(document, dict) or document.get("proof") != prover.prove(nonce):
        yield failed("public_url", f"{url} leads to another server than that of {folder}")
        return
    yield fine("public_url", f"{url} leads to this server")
    if is_local(url):
        yield warning("public_url", f"{url} is an address of this machine alone: nobody else can reach it")
    yield from _clocks(answer, url, clock)


def _clocks(answer: Answer, url: str, clock: Clock) -> Iterator[Finding]:
    """A proxy's clock, when one answered in between; our own says nothing new."""
    try:
        there_s = email.utils.parsedate_to_datetime(answer.headers["date"]).timestamp()
    except (KeyError, ValueError):
        return
    yield from compare_clocks(there_s, clock.now(), urlsplit(url).netloc)


def _prover(folder: Path, settings: Settings) -> Prover | None:
    try:
        secret = secret_of(folder, settings)
    except (OSError, ValueError):
        return None
    return None if secret is None else Prover(secret)
