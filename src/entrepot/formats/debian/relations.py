"""Relationship fields (Debian Policy 7.1): checked, because one malformed Depends makes `apt-get update` fail for every
client.

apt stops at the stanza ("Problem parsing dependency"), so a single bad package would take the whole index away.
"""

import re

from entrepot.formats.debian.control import Stanza, invalid, text_of

# The order in which the pages and the API show them.
BINARY_RELATIONS = (
    "Depends",
    "Pre-Depends",
    "Recommends",
    "Suggests",
    "Enhances",
    "Breaks",
    "Conflicts",
    "Replaces",
    "Provides",
)
SOURCE_RELATIONS = (
    "Build-Depends",
    "Build-Depends-Arch",
    "Build-Depends-Indep",
    "Build-Conflicts",
    "Build-Conflicts-Arch",
    "Build-Conflicts-Indep",
)

# Names as dpkg takes them (wider than policy: capitals and _ occur in virtual packages); operators with < and > for old
# packages.
_ALTERNATIVE = re.compile(
    r"[A-Za-z0-9][A-Za-z0-9+._-]*(?::[a-z0-9][a-z0-9-]*)?\s*(?:\(\s*(?:<<|<=|=|>=|>>|<|>)\s*[A-Za-z0-9][A-Za-z0-9.+~:-]*\s*\))?\Z"
)
_BLANKS = re.compile(r"\s+")


def check_relations(stanza: Stanza) -> None:
    """Check every relationship field of a binary package. Raises Refusal("package_field_invalid") with the clause that
    is wrong.
    """
    for field in BINARY_RELATIONS:
        value = stanza.get(field)
        if value is None:
            continue
        clauses = text_of(value).split(",")
        if len(clauses) > 1 and not clauses[-1].strip():
            clauses.pop()  # apt and dpkg both pass over one comma at the end
        for clause in clauses:
            if not all(_ALTERNATIVE.match(part.strip()) for part in clause.split("|")):
                shown = _BLANKS.sub(" ", clause).strip()[:80]
                raise invalid(
                    field,
                    f"The field {field} has a clause that apt cannot read: {shown!r}. Correct it: name (>= version).",
                )


def dependencies(stanza: Stanza, fields: tuple[str, ...]) -> list[dict[str, object]]:
    """packagecloud's shape: ``{"context": "depends", "dependencies": ["libc6 (>= 2.36)", …]}`` for each field that is
    there.
    """
    found: list[dict[str, object]] = []
    for field in fields:
        value = stanza.get(field)
        if value is not None:
            clauses = [_BLANKS.sub(" ", clause).strip() for clause in text_of(value).split(",")]
            found.append({"context": field.lower(), "dependencies": [clause for clause in clauses if clause]})
    return found
