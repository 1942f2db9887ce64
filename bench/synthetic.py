"""A private repository as companies have it: 300 packages in many versions, control fields of a usual length."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from tests.support.deb import deb_bytes
from tests.support.rpmfast import FastRpm, fast_rpm_bytes

PACKAGES = 300
_HEADS = ["acme", "billing", "catalog", "checkout", "cluster", "config", "customer", "data", "edge", "event"]
_BODIES = ["agent", "api", "archive", "broker", "cache", "client", "collector", "console", "dispatcher", "exporter"]
_TAILS = ("", "-common", "-dev")
_DEPENDS = (
    "libc6 (>= 2.34), libgcc-s1 (>= 3.0), libssl3 (>= 3.0.0), zlib1g (>= 1:1.2.3.4), adduser, ca-certificates",
    "python3 (>= 3.9~), python3-requests, python3-yaml, python3:any, init-system-helpers (>= 1.54~)",
    "default-jre-headless (>= 2:1.11) | java11-runtime-headless, adduser, logrotate, procps",
)
_WORDS = [
    *("receives", "validates", "stores", "forwards", "compresses", "schedules", "retries", "measures", "reports"),
    *("encrypts", "batches", "queues", "records", "requests", "events", "invoices", "sessions", "metrics", "customers"),
    *("backups", "tenants", "workers", "segments", "tables", "regions", "clusters"),
]


@dataclass(frozen=True, slots=True)
class Item:
    """One package file in memory and the name that it is sent under."""

    filename: str
    content: bytes


def names() -> list[str]:
    """The 300 package names."""
    return [f"{head}-{body}{tail}" for head in _HEADS for body in _BODIES for tail in _TAILS]


def _text(seed: str, words: int) -> str:
    digest = hashlib.sha256(seed.encode()).digest() * (words // 32 + 1)
    return " ".join(_WORDS[byte % len(_WORDS)] for byte in digest[:words])


def _description(name: str) -> str:
    lines = [_text(f"{name}{line}", 9) for line in range(4)]
    return f"{_text(name, 6)}\n " + "\n ".join(lines)


def _version(number: int) -> str:
    return f"{1 + number // 100}.{number // 10 % 10}.{number % 10}"


def deb(number: int, arch: str = "amd64", suffix: str = "") -> Item:
    """Package ``number`` in upload order: all 300 packages in their first version, then all in their second."""
    name = names()[number % PACKAGES]
    version = f"{_version(number // PACKAGES)}-1{suffix}"
    fields = {
        "Source": name.removesuffix("-common").removesuffix("-dev"),
        "Maintainer": "Platform Team <platform-packages@example.com>",
        "Installed-Size": str(1000 + number % 5000),
        "Depends": _DEPENDS[number % 3],
        "Section": "net",
        "Priority": "optional",
        "Homepage": f"https://code.example.com/platform/{name}",
        "Description": _description(name),
    }
    content = deb_bytes(name, version, arch, fields=fields)
    return Item(f"{name}_{version}_{arch}.deb", content)


def rpm(number: int, arch: str = "x86_64", suffix: str = "") -> Item:
    """The same as rpm packages, each with eight files, a few relations and a changelog."""
    name = names()[number % PACKAGES]
    package = FastRpm(
        name=name,
        version=_version(number // PACKAGES),
        release=f"1{suffix}.el9",
        arch=arch,
        summary=_text(name, 6),
        description=_text(f"{name}0", 40),
        url=f"https://code.example.com/platform/{name}",
        files={f"/usr/lib/{name}/{part}": b"x" for part in _WORDS[:8]},
        relations={"requires": ["bash", "openssl >= 3.0", "systemd", "shadow-utils"], "provides": [f"{name}-service"]},
        changelogs=[(1_700_000_000, "Platform Team <platform-packages@example.com> 1.0-1", f"- {_text(name, 12)}")],
    )
    return Item(package.file_name, fast_rpm_bytes(package))


def make(kind: str, number: int, suffix: str = "", arch: str | None = None) -> Item:
    """A ``deb`` or an ``rpm``."""
    if kind == "deb":
        return deb(number, arch or "amd64", suffix)
    return rpm(number, arch or "x86_64", suffix)


def series(kind: str, count: int, arches: tuple[str, ...] = ()) -> Iterator[Item]:
    """``count`` packages in upload order, spread over the architectures."""
    for number in range(count):
        arch = arches[number % len(arches)] if arches else None
        yield make(kind, number // max(1, len(arches)), arch=arch)
