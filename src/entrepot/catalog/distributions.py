"""The distribution table: packagecloud's, kept as data in ``distributions.toml``, plus the rows that the
administrator added.
"""

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any, TypedDict

from sqlalchemy import Connection, func, insert, select

from entrepot.catalog import audit
from entrepot.catalog.schema import distribution
from entrepot.model.errors import Refusal
from entrepot.model.limits import DISTRIBUTIONS_ADDED_MAX
from entrepot.model.nouns import Distribution, check_distribution_path

ADDED_ID_MIN = 200_000
"""Ids of added rows start here: above packagecloud's (to 302 and growing) and above those that we ship (from 100000).
"""


class VersionShape(TypedDict, total=False):
    """One version of ``distributions.json``; exactly these keys, because the Java client refuses any other."""

    id: int
    display_name: str
    index_name: str
    version_number: str | None


class FamilyShape(TypedDict):
    """One family of ``distributions.json``."""

    display_name: str
    index_name: str
    versions: list[VersionShape]


@dataclass(frozen=True, slots=True)
class Systems:
    """How machines call a family; see the head of ``distributions.toml``."""

    names: frozenset[str] = frozenset()
    parts: int = 2
    releases: Mapping[str, str] = field(default_factory=dict)


class DistributionTable:
    """An immutable snapshot of every known distribution, in the order in which packagecloud lists them."""

    def __init__(self, rows: Iterable[Distribution]) -> None:
        self._rows = tuple(rows)
        self._paths = {row.path: row for row in self._rows}
        self._ids = {row.id: row for row in self._rows}
        self._families = {row.family: row.format for row in self._rows}

    def all(self) -> tuple[Distribution, ...]:
        """Every row."""
        return self._rows

    def by_path(self, path: str) -> Distribution:
        """The row of ``family/version``, by index name (``debian/bookworm``) or by version number (``debian/12.0``).

        Raises Refusal("distribution_unknown").
        """
        row = self._paths.get(path)
        if row is None:
            family, _, version = path.partition("/")
            row = next((r for r in self._rows if r.family == family and version and r.version_number == version), None)
        if row is None:
            raise Refusal("distribution_unknown", field="distribution", value=path[:200])
        return row

    def by_system(self, os: str, dist: str) -> Distribution:
        """The row for a machine that calls itself ``os`` (a family or one of its other names, in any case, with blanks)
        and its release ``dist``: a version, a number (``12``, ``15.4``, ``7.9.2009``, ``7Server``, ``15-SP4``) or
        Debian's ``trixie/sid``.

        Raises Refusal("distribution_unknown"), whose detail holds nothing of what was asked.
        """
        family, systems = self._family_of("".join(os.split()).lower())
        rows = [row for row in self._rows if row.family == family]
        for wanted in _releases("".join(dist.split()).lower(), systems):
            for row in rows:
                if wanted in (row.version.lower(), row.version_number):
                    return row
        raise Refusal("distribution_unknown", field="dist" if rows else "os")

    def _family_of(self, name: str) -> tuple[str, Systems]:
        known = systems()
        if name in self._families:
            return name, known.get(name, Systems())
        return next(((family, each) for family, each in known.items() if name in each.names), ("", Systems()))

    def by_id(self, distribution_id: int) -> Distribution:
        """The row of packagecloud's ``distro_version_id``. Raises Refusal("distribution_unknown")."""
        row = self._ids.get(distribution_id)
        if row is None:
            raise Refusal("distribution_unknown", field="distro_version_id", value=str(distribution_id)[:40])
        return row

    def by_family(self, family: str) -> str | None:
        """The format of a family's packages: "" when they are not taken yet, None when there is no such family."""
        return self._families.get(family)

    def examples(self) -> dict[str, tuple[str, ...]]:
        """One well-known distribution for each format that takes packages, for set-up lines of an empty repository."""
        known = (self._paths.get(path) for path in ("debian/bookworm", "el/9", "java/maven2"))
        return {row.format: (row.path,) for row in known if row is not None}

    def to_packagecloud(self) -> dict[str, list[FamilyShape]]:
        """``distributions.json`` as packagecloud shapes it: type → families → versions; ``dsc`` repeats ``deb``."""
        types: dict[str, dict[str, FamilyShape]] = {}
        for row in self._rows:
            families = types.setdefault(row.type, {})
            shape = families.setdefault(
                row.family, {"display_name": row.family_display, "index_name": row.family, "versions": []}
            )
            shape["versions"].append(_version_shape(row))
        shaped = {kind: list(families.values()) for kind, families in types.items()}
        shaped["dsc"] = shaped.get("deb", [])
        return shaped


def _releases(text: str, systems: Systems) -> Iterator[str]:
    """What a release may stand for, the most exact first: itself, then its first numbers, as many as tell versions
    apart.
    """
    text = text.partition("/")[0]
    yield text
    numbers = re.match(r"\d+(?:\.\d+)*", text.replace("-sp", "."))
    if numbers is None:
        return
    short = ".".join(numbers[0].split(".")[: systems.parts])
    yield systems.releases.get(short, short)
    yield short if "." in short else f"{short}.0"


def _version_shape(row: Distribution) -> VersionShape:
    if row.type == "py":  # packagecloud's Python version has no more than these two
        return {"id": row.id, "display_name": row.version_display}
    return {
        "id": row.id,
        "display_name": row.version_display,
        "index_name": row.version,
        "version_number": row.version_number,
    }


@cache
def built_in() -> tuple[Distribution, ...]:
    """The rows of ``distributions.toml``."""
    return tuple(
        Distribution(
            id=number,
            family=family["name"],
            version=version,
            type=family["type"],
            format=family["format"],
            family_display=family["display"],
            version_display=display,
            version_number=version_number or None,
        )
        for family in _data()["family"]
        for number, version, version_number, display in family["versions"]
    )


@cache
def systems() -> Mapping[str, Systems]:
    """How machines call the families of ``distributions.toml`` that packages can be pushed to."""
    return {
        family["name"]: Systems(frozenset(family.get("os", ())), family.get("parts", 2), family.get("releases", {}))
        for family in _data()["family"]
        if family["format"]
    }


@cache
def _data() -> dict[str, Any]:
    return tomllib.loads(files("entrepot.catalog").joinpath("distributions.toml").read_text("utf-8"))


def load(conn: Connection) -> DistributionTable:
    """The built-in rows and the added ones, as one table."""
    added = conn.execute(select(distribution).order_by(distribution.c.id).limit(DISTRIBUTIONS_ADDED_MAX))
    return DistributionTable((*built_in(), *(Distribution(**row._mapping) for row in added)))


def add(
    conn: Connection,
    path: str,
    now_s: int,
    *,
    display: str | None = None,
    version_number: str | None = None,
    like: str | None = None,
    actor: audit.Actor = audit.SERVER,
) -> Distribution:
    """Add ``family/version``: a new version of a known family, or of a new family that is ``like`` a known one
    (``like="debian"``).

    The id is given out here, from :data:`ADDED_ID_MIN`. Raises Refusal: distribution_unknown (not a path, or no such
    ``like``), distribution_exists, field_invalid (a new family without ``like``; too many rows).
    """
    family, _, version = check_distribution_path(path).partition("/")
    table = load(conn)
    if any(row.path == path for row in table.all()):
        raise Refusal("distribution_exists", field="distribution", value=path)
    model = next((row for row in table.all() if row.family == (like or family)), None)
    if model is None and like is None:
        raise Refusal(
            "field_invalid", "Say which known family the new one is like (for example debian or el).", field="like"
        )
    if model is None:
        raise Refusal("distribution_unknown", field="like", value=str(like)[:200])
    if len(table.all()) - len(built_in()) >= DISTRIBUTIONS_ADDED_MAX:
        raise Refusal("field_invalid", f"No more than {DISTRIBUTIONS_ADDED_MAX} distributions can be added.")
    known_family = family == model.family
    last_id = conn.execute(select(func.max(distribution.c.id))).scalar()
    row = Distribution(
        id=max(ADDED_ID_MIN, (last_id or 0) + 1),
        family=family,
        version=version,
        type=model.type,
        format=model.format,
        family_display=model.family_display if known_family else family,
        version_display=display or version,
        version_number=version_number,
    )
    conn.execute(
        insert(distribution),
        {
            "id": row.id,
            "family": row.family,
            "version": row.version,
            "type": row.type,
            "format": row.format,
            "family_display": row.family_display,
            "version_display": row.version_display,
            "version_number": row.version_number,
        },
    )
    audit.record(conn, now_s, actor, "distribution.add", path, {"id": row.id, "format": row.format})
    return row
