"""MultiHash against hashlib, in one lane and in two."""

import hashlib

import pytest

from entrepot.streams.hashing import EXTRA_ALGORITHMS, MultiHash


def test_every_digest_of_the_same_bytes() -> None:
    """Goal: all four digests are hashlib's own. Method: uneven chunks of every bytes-like kind."""
    data = bytes(range(256)) * 40
    hashes = MultiHash(EXTRA_ALGORITHMS)
    for chunk in (data[:1], bytearray(data[1:7000]), memoryview(data)[7000:]):
        hashes.update(chunk)
    found = hashes.digests()
    for name in ("sha256", "md5", "sha1", "sha512"):
        assert getattr(found, name) == hashlib.new(name, data).hexdigest()
    assert hashes.size_bytes == len(data)


def test_only_what_was_asked_for() -> None:
    """Goal: digests that nobody asked for are None, not computed. Method: sha256 alone."""
    assert MultiHash().digests().md5 is None


def test_two_lanes_join_only_over_the_same_bytes() -> None:
    """Goal: a second lane that lost a chunk can never be joined. Method: join equal lanes, then unequal ones."""
    first, second = MultiHash(), MultiHash({"md5"}, sha256=False)
    first.update(b"abc")
    second.update(b"abc")
    assert first.digests(second).md5 == hashlib.md5(b"abc").hexdigest()
    first.update(b"d")
    with pytest.raises(ValueError, match="different"):
        first.digests(second)
    with pytest.raises(ValueError, match="no lane"):
        second.digests()


def test_unknown_algorithm() -> None:
    """Goal: a misspelt digest is an error at once. Method: ask for one that hashlib has and we do not offer."""
    with pytest.raises(ValueError, match="blake2b"):
        MultiHash({"blake2b"})
