#!/usr/bin/env python3
"""Writes the generated parts of the pages: settings, error codes, routes, metrics and measured figures.

A part stands between two marks in its page, ``<!-- generated: NAME -->`` and ``<!-- end of generated: NAME -->``;
what is around them is written by hand. ``--check`` writes nothing and ends with 1 when a part is not current.
"""

import argparse
import html
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fault_report
from pydantic import SecretStr
from pydantic_core import PydanticUndefined

from entrepot.cli.checks import CHECKS
from entrepot.model.errors import TABLE
from entrepot.observe import metrics
from entrepot.settings.sources import ENV_PREFIX, Settings
from entrepot.upkeep.backup.errors import CODES as BACKUP_CODES
from entrepot.web import access
from entrepot.web.access import Access, Visitor
from entrepot.web.address import Routes
from entrepot.web.openapi import summary
from entrepot.web.site import build_router

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "RESULTS.md"

# What to do about each code. The table of errors says what happened; this says what helps, and who can do it.
REMEDIES: Mapping[str, str] = {
    "token_missing": "Add the token: `curl -u TOKEN:`, apt's auth.conf.d, `username=` of a .repo file, settings.xml;"
    " for `entrepot` see [push.md](push.md#settings). A repository that does not exist answers so too: check its name.",
    "token_unknown": "Look for a cut or doubled character. `entrepot token list` shows what exists; make a new one.",
    "too_many_attempts": "A machine behind this address sends a token that is no longer valid, again and again: the"
    " server's log names the address. Tokens that were good within the last hour go on working."
    " `limits.login_failures_per_address_max`",
    "too_many_connections": "Fewer at once, or `limits.connections_per_address_max`; behind a proxy, name it in"
    " `server.trusted_proxies`.",
    "url_too_long": "Shorten it, or `limits.url_bytes_max`. The path alone may have 2,048 characters.",
    "headers_too_large": "Cookies of other programs on this host are the usual cause. `limits.header_bytes_max`",
    "token_expired": "`entrepot token create` makes a new one; `--expires` says how long it lives.",
    "token_revoked": "Somebody ended it. `entrepot token create` makes a new one; for the administrator's own see"
    " [operate.md](operate.md#a-new-administrators-token).",
    "role_too_low": "Reading needs `read`, pushing `push`; yanking, repositories, keys and tokens `admin`.",
    "cross_site": "A browser sent this for a page of another site, with the token that it remembers."
    " If the page is yours, let its server call Entrepot.",
    "repository_not_allowed": "The token is of another owner, or was made with `--repo` for others. Use another token.",
    "not_found": "Check the address. A yanked file answers so after `entrepot gc`.",
    "part_only": "`curl -C` and other resuming senders send the rest of a file alone. Send it whole, without `-C`.",
    "encoding_unsupported": "Switch off compression of request bodies in the client or in a proxy on the way.",
    "repository_unknown": "`entrepot repo list` shows what the token may see; `entrepot repo create` makes one.",
    "repository_exists": "Use it, or take another name.",
    "repository_name_invalid": "Take another name; `api`, `priv` and a few more owners are the server's own.",
    "distribution_unknown": "`entrepot distro list` shows all; an operator adds one with `entrepot distro add`.",
    "distribution_exists": "Nothing to do: push to it.",
    "method_not_allowed": "Uploads are PUT to `USER/REPO/DISTRO/VERSION/`, or POST to the API.",
    "range_not_satisfiable": "The local part of a download is longer than the file: delete it and download again.",
    "precondition_failed": "Download again without the condition.",
    "field_invalid": "The detail names the field and what it takes.",
    "key_unusable": "The detail says what to do with it in gpg; [keys.md](keys.md) has the ways in.",
    "body_malformed": "Send what the Content-Type says: `multipart/form-data` with a boundary, or JSON.",
    "length_mismatch": "Send it again. If it stays, a proxy between you and the server cuts bodies.",
    "upload_interrupted": "Send it again; `entrepot push` does so by itself.",
    "upload_too_slow": "Send it again from a better line, or lower `upload.rate_bytes_per_s_min`.",
    "digest_mismatch": "Build or fetch the file again and compare its sha256 before sending.",
    "too_large": "Split the package, or raise `upload.upload_bytes_max`.",
    "too_large_for_volume": "Use a larger volume for the data folder.",
    "not_a_package": "Often an error page saved as a file: look at it with `file NAME`.",
    "package_damaged": "Build it again; `dpkg-deb --info`, `rpm -K` or `unzip -t` show the damage.",
    "package_hostile": "The detail names the limit. A package made by the usual tools does not come near it.",
    "package_field_invalid": "The detail names the field; correct it where the package is built.",
    "package_name_invalid": "The detail shows the name; rename where the package is built.",
    "format_mismatch": "Push to a distribution of its own kind: `entrepot distro list deb`, `rpm` or `maven`.",
    "coordinates_mismatch": "Deploy under the coordinates that the POM says.",
    "inspection_failed": "Send it again once. If it stays, check the package with its own tools and report it.",
    "name_taken": "Raise the version. `entrepot yank` takes the old file out first, if it must be the same name.",
    "duplicate": "Nothing to do: it is there. Only /api/v1 answers so; other ways in answer 200.",
    "no_room": "Wait; clients that know Retry-After do. The operator: `entrepot gc`, yank, or a larger volume.",
    "quota_exceeded": "The detail says whose. Yank what is old and have `entrepot gc` run, or ask for a larger quota.",
    "quota_reserved": "Wait; clients that know Retry-After do. Uploads under way hold what is left of the quota.",
    "busy": "Wait; clients that know Retry-After do. If it lasts, raise `upload.uploads_at_once_max`.",
    "stopping": "Send it again; the node is being restarted.",
    "storage_failed": "Send it again. The operator looks at the kernel's log: the disk reported an error.",
    "catalog_failed": "Send it again. The operator looks at the server's log and at the free space of the data folder.",
    "signing_failed": "Send it again. The operator: [A lost secret](operate.md#a-lost-secret), if the log says that a"
    " key cannot be opened.",
    "internal": "Report it with the log line of this request's id. It is a defect.",
}

# Row of the bench → what its bars are. The figures come from bench/RESULTS.md, the commands are all alike.
BARS: Sequence[tuple[str, str]] = (
    ("publication", "One publication at 100,000 packages: at most 1.5 times that at 1,000; at most 5 ms with Ed25519"),
    ("small_deb", "One small .deb at 50,000 packages: at least 100 times faster than `aptly api serve`"),
    ("small_rpm", "One small .rpm at 50,000 packages: at least 100 times faster than `createrepo_c --update`"),
    ("stream", "5,000 uploads in a row at 100,000 packages: p99 at most 10 medians; no stall above 100 ms"),
    ("crowd", "64 uploads at once: at least 3 times the rate of one client, every one listed"),
    ("yank", "A yank at 100,000 packages is visible in at most 150 ms"),
    (
        "large_upload",
        "1 GiB, durable: no slower than nginx PUT, sync, sha256sum; at most 1.02 bytes written per byte",
    ),
    ("memory", "10 MiB to 4 GiB: at most 32 MiB more; idle at 100,000 packages: at most 300 MB"),
    ("generations", "10,000 publications in 10 minutes: old generations stay within their cap"),
    ("download", "1 GiB: at most 2 times the CPU seconds of nginx without sendfile"),
    ("conditional", "At least 2,000 conditional InRelease requests a second while uploads run, p99 at most 20 ms"),
    ("start", "First answer in at most 2 s; `entrepot --help` in at most 0.3 s"),
    ("leak", "A leaked file or descriptor at 100,000 packages is named with its path or process within 60 s"),
    (
        "full_disk",
        "Twice what fits, then space returns: no 500, reset, file left or failed read; back from SHED within 30 s",
    ),
    (
        "backup",
        "Second back-up of 100,000 packages: at most 30 s; restore to first `apt-get update`: 5 minutes plus copying",
    ),
    ("clone", "`git clone` to the first `apt-get install`: at most 10 commands and 5 minutes"),
)


def cell(text: object) -> str:
    """Text that cannot end its cell of a Markdown table."""
    return " ".join(str(text).split()).replace("|", "\\|")


def table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    return "\n".join([*lines, *("| " + " | ".join(cell(each) for each in row) + " |" for row in rows)]) + "\n"


def settings_part() -> str:
    """One table for each concern: name, default, meaning, variable of the environment."""
    parts = []
    for concern, member in Settings.model_fields.items():
        kind: Any = member.annotation
        rows = [
            (f"`{name}`", _default(field), field.description, f"`{ENV_PREFIX}{concern}_{name}`".upper())
            for name, field in kind.model_fields.items()
        ]
        heads = ("setting", "default", "meaning", "environment")
        parts.append(f"### `[{concern}]`\n\n{(kind.__doc__ or '').strip()}\n\n{table(heads, rows)}")
    return "\n".join(parts)


def _default(field: Any) -> str:
    value = field.default
    if value is PydanticUndefined or value is None or isinstance(value, SecretStr) or value == ():
        return "–"
    if isinstance(value, int) and not isinstance(value, bool) and value >= 10_000_000:
        return f"{value:,}"
    return str(value).lower() if isinstance(value, bool) else str(value)


def errors_part() -> str:
    """Every row of the table of errors."""
    missing = sorted(set(TABLE) ^ set(REMEDIES))
    if missing:
        raise SystemExit(f"generate-docs: REMEDIES and the table of errors differ in: {', '.join(missing)}")
    rows = []
    for row in TABLE.values():
        retry = "no" if row.retry_after_s is None else f"after {row.retry_after_s} s and more"
        rows.append((f'<a id="{row.code}"></a>`{row.code}`', row.status, retry, row.text, REMEDIES[row.code]))
    return table(("code", "status", "repeat it", "what it means", "what to do"), rows)


def backup_errors_part() -> str:
    """Every code of back-up and restore."""
    rows = [(f'<a id="{code}"></a>`{code}`', *texts) for code, texts in BACKUP_CODES.items()]
    return table(("code", "what it means", "what to do"), rows)


def checks_part() -> str:
    """Every check of `entrepot doctor`."""
    rows = [(f'<a id="check-{name}"></a>`{name}`', *texts) for name, texts in CHECKS.items()]
    return table(("check", "what is looked at", "how to mend it"), rows)


def routes_part(prefix: str) -> str:
    """The routes below ``prefix`` as the router has them, with the first paragraph of each handler's text."""
    services: Any = SimpleNamespace()
    router = build_router(services, services, Routes())
    rows = []
    for route in router.routes:
        found: Any = route
        if not found.path.startswith(prefix):
            continue
        path = re.sub(r"\{(\w+)(?::\w+)?\}", lambda match: match[1].upper(), found.path)
        method = next(iter(sorted(found.methods - {"HEAD"})))
        rows.append((f"`{method} {html.unescape(path)}`", summary(method, found.endpoint.handler)))
    return table(("route", "what it does"), rows)


def access_part(declared: Mapping[str, Access]) -> str:
    """What each kind of visitor is answered, route by route; two answers where a private repository differs."""
    if declared is access.ROUTES:
        services: Any = SimpleNamespace()
        undeclared = set(access.route_names(build_router(services, services, Routes()).routes)) ^ set(declared)
        if undeclared:
            raise SystemExit(f"generate-docs: web/access.py and the router differ in: {', '.join(sorted(undeclared))}")
    shown = (Visitor.NOBODY, Visitor.READ, Visitor.PUSH, Visitor.ADMIN, Visitor.OTHER_OWNER, Visitor.EXPIRED)
    rows = []
    for route, entry in declared.items():
        path = re.sub(r"\{(\w+)(?::\w+)?\}", lambda match: match[1].upper(), route)
        rows.append((f"`{html.unescape(path)}`", entry.reach, *(_verdict(entry, visitor) for visitor in shown)))
    return table(("route", "for", *shown[:-1], "expired, revoked, wrong"), rows)


def _verdict(entry: Access, visitor: Visitor) -> str:
    public, private = (entry.refusal(visitor, private=each) for each in (False, True))
    words = ["yes" if code is None else str(TABLE[code].status) for code in (public, private)]
    return words[0] if words[0] == words[1] else f"{words[0]}; private: {words[1]}"


def metrics_part() -> str:
    """Every declared metric."""
    rows = []
    for family in metrics.registry.collect():
        suffix = "_total" if family.type == "counter" else ""
        rows.append((f"`{family.name}{suffix}`", family.type, family.documentation))
    return table(("metric", "kind", "meaning"), sorted(rows))


def figures_part() -> str:
    """Each row of the bench, its bars, the command, and the figures of the last full run."""
    measured = dict(_measured())
    rows = []
    for name, bars in BARS:
        figures = measured.get(name) or ["not measured yet"]
        rows.append((bars, f'`make bench BENCH_ARGS="{name} --write"`', "; ".join(figures)))
    return table(("bar", "command", "measured"), rows)


def faults_part() -> str:
    """What the fault programme counted in its last run that was written down."""
    document = fault_report.load()
    if document is None:
        return "Not measured yet.\n"
    shown = table(("what", "found", "with 95 % confidence"), fault_report.rows(document))
    return f"{document['note']}\n\n{shown}"


def clients_part() -> str:
    """What the real clients said to a full volume in the same run."""
    document = fault_report.load()
    if document is None or not fault_report.clients(document):
        return "Not measured yet.\n"
    return table(("client", "volume", "how it ended", "what it said"), fault_report.clients(document))


def _measured() -> Iterator[tuple[str, list[str]]]:
    """(row, figures) of each section of RESULTS.md; rough runs count as not measured."""
    text = RESULTS.read_text() if RESULTS.exists() else ""
    for section in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        title, _, body = section.partition("\n")
        if "quick" in title:
            continue
        figures = []
        for line in body.splitlines():
            cells = [each.strip() for each in line.strip().strip("|").split("|")]
            if len(cells) == 6 and cells[5] in ("yes", "NO"):
                name, ours, peer, ratio, _, met = cells
                more = (f" against {peer}" if peer else "") + (f", ratio {ratio}" if ratio else "")
                figures.append(f"{name}: {ours}{more}{'' if met == 'yes' else ' (**bar missed**)'}")
        yield title.strip(), figures


PARTS: Mapping[str, tuple[str, Callable[[], str]]] = {
    "settings": ("docs/install.md", settings_part),
    "errors": ("docs/troubleshoot.md", errors_part),
    "checks": ("docs/troubleshoot.md", checks_part),
    "codes of back-ups": ("docs/troubleshoot.md", backup_errors_part),
    "routes of /api/v1": ("docs/api.md", lambda: routes_part("/api/v1/")),
    "routes of /api/v2": ("docs/api.md", lambda: routes_part("/api/v2/")),
    "access to repositories": ("docs/access.md", lambda: access_part(access.REPOSITORY_ROUTES)),
    "access to everything else": ("docs/access.md", lambda: access_part(access.ROUTES)),
    "metrics": ("docs/operate.md", metrics_part),
    "figures": ("docs/PROMISES.md", figures_part),
    "faults": ("docs/PROMISES.md", faults_part),
    "clients": ("docs/PROMISES.md", clients_part),
}


def fill(text: str, name: str, content: str) -> str:
    """``text`` with the part ``name`` replaced. Raises SystemExit when the page has no marks for it."""
    start, end = f"<!-- generated: {name} -->", f"<!-- end of generated: {name} -->"
    if text.count(start) != 1 or text.count(end) != 1:
        raise SystemExit(f"generate-docs: the marks of {name!r} are not in their page once")
    before, _, rest = text.partition(start)
    return f"{before}{start}\n{content}{end}{rest.partition(end)[2]}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Write or check every part; 1 when a part is not current."""
    parser = argparse.ArgumentParser(description="Write the generated parts of the pages.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail when a part is not current")
    options = parser.parse_args(arguments)
    stale = []
    for name, (page, make) in PARTS.items():
        path = ROOT / page
        old = path.read_text()
        new = fill(old, name, make())
        if new != old:
            stale.append(f"{page}: {name}")
            if not options.check:
                path.write_text(new)
    if options.check and stale:
        print("not current, run `make docs`:", *stale, sep="\n  ", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
