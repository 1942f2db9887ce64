"""The contract of every format's words: content types, names for the nameless, packagecloud's filters and groups."""

import hashlib

import pytest

from entrepot.formats.protocol import OCTETS, Format, PackageFacts, Upload, UploadTarget
from entrepot.formats.registry import formats
from entrepot.model.nouns import Digests
from entrepot.streams.window import Window

EVERY_FORMAT = pytest.mark.parametrize("fmt", formats().values(), ids=lambda fmt: fmt.name)


def facts_of_sample(fmt: Format, path: str | None = None) -> PackageFacts:
    """What inspection makes of the first file of a sample, sent to ``path`` instead of its own. Its coordinates come
    along, for who needs them."""
    sample = fmt.sample(1, 64)
    file = sample.files[0]
    target = fmt.route("PUT", file.path)
    assert isinstance(target, UploadTarget)
    upload = Upload(
        target.distribution,
        target.path if path is None else path,
        len(file.content),
        Digests(hashlib.sha256(file.content).hexdigest()),
        {"coordinates": f"{sample.name}:{sample.version}"},
    )
    facts = fmt.inspect(upload, Window.of_ends(len(file.content), file.content, file.content)).package
    assert facts is not None
    return facts


@EVERY_FORMAT
def test_a_package_has_a_content_type_of_its_own(fmt: Format) -> None:
    """Goal: clients and browsers know a package by its type. Method: the sample's files, and names that say nothing."""
    for file in fmt.sample(1, 0).files:
        content_type = fmt.content_type(file.path.rpartition("/")[2])
        assert content_type != OCTETS
        assert content_type.isascii()
        assert "/" in content_type
    assert {fmt.content_type(name) for name in ("", "x", ".", "x.other")} == {OCTETS}


@EVERY_FORMAT
def test_a_nameless_file_is_taken(fmt: Format) -> None:
    """Goal: a client that sends a random name uploads the same package. Method: the sample under such a name."""
    assert fmt.nameless_suffix == "" or fmt.nameless_suffix.startswith(".")
    assert facts_of_sample(fmt, f"m4x7{fmt.nameless_suffix}") == facts_of_sample(fmt)


@EVERY_FORMAT
def test_some_filter_finds_a_package(fmt: Format) -> None:
    """Goal: packagecloud's filters list every kind of package, each word for one format. Method: the sample's type;
    the words of all formats together."""
    assert any(facts_of_sample(fmt).type in types for types in fmt.type_filters.values())
    others = {word for other in formats().values() if other is not fmt for word in other.type_filters}
    assert not others & set(fmt.type_filters)


@EVERY_FORMAT
def test_a_file_is_in_its_own_group_alone(fmt: Format) -> None:
    """Goal: a name in two groups is two files. Method: the group in the package's name (``GROUP:NAME``), if
    it has one, and some that are not the file's."""
    facts = facts_of_sample(fmt)
    group, colon, _ = facts.name.partition(":")
    assert fmt.in_group(facts.path, group) == bool(colon)
    for other in (f"{group}x", f"{group}.x", f"x.{group}", facts.path, facts.path.rpartition("/")[0], "/"):
        assert not fmt.in_group(facts.path, other)
