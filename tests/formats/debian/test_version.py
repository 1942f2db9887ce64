"""The order of versions against dpkg's own comparison and python-debian's."""

import random
import re
import subprocess
from collections.abc import Iterable

import pytest
from debian.debian_support import Version as Reference

from entrepot.formats.debian.version import Version, order_key, parse_version
from entrepot.model.errors import Refusal

ALPHABET = "0019aAzZ~+.-"


def text(chance: random.Random, alphabet: str, most: int) -> str:
    """At most ``most`` characters of an alphabet."""
    return "".join(chance.choices(alphabet, k=chance.randrange(most + 1)))


def version(chance: random.Random) -> str:
    """A nasty version, not always a valid one."""
    epoch = chance.choice(("", "", "", "0:", "1:", "2:", "10:"))
    revision = "-" + text(chance, ALPHABET.replace("-", ""), 6) if chance.random() < 0.5 else ""
    return epoch + chance.choice("0019") + text(chance, ALPHABET, 10) + revision


_NASTY = """
0 00 1 1. 1.0 1.00 1.0-0 1.0-1 1.0-1~ 1.0~ 1.0~~ 1.0~~a 1.0~a 1.0a 1.0+ 1.0+a 1.0.a 1.0-a 1.0-+ 1.0-. 1.0-~ 0:1.0 1:0
1:0~ 1.2.3 1.2.3~rc1 1.2.3~rc1-1 1.2.3+dfsg-1 1.2.3+dfsg-1+b1 1.2.3+dfsg-1~bpo12+1 1.2.3-1+deb12u1 1.2.3-1+deb12u10
1.2.3-1+deb12u2 9 10 99999999999999999999999999999999 100000000000000000000000000000000 1.9 1.10 1a 1A 1z 1-1-1
1.0-1-2 2147483647:1 1:1:1 1:1:2 1~~ 1~~~ 1a~ 1a~1 1a1 1a01 1a+1 1a.1 1a-1 1a-~1 20250101 2025.01.01
1.0.0.0.0.0.0.0.0.0.1 1.0.0.0.0.0.0.0.0.0.0.1 1- 0~ 0~0 0-0~
"""
NASTY = _NASTY.split()


def key(text: str) -> bytes:
    """The sort key of a version."""
    return parse_version(text).sort_key()


def sign(left: object, right: object) -> int:
    """-1, 0 or 1 as `left` is before, equal to or after `right`."""
    return int(left > right) - int(left < right)  # type: ignore[operator]


def valid(text: str) -> bool:
    """Whether we take the version at all."""
    try:
        parse_version(text)
    except Refusal:
        return False
    return True


def disagreements(pairs: Iterable[tuple[str, str]], least: int) -> list[tuple[str, str]]:
    """The pairs of valid versions, ``least`` or more of them, that we order otherwise than python-debian."""
    both = [(left, right) for left, right in pairs if valid(left) and valid(right)]
    assert len(both) >= least
    return [
        (left, right) for left, right in both if sign(key(left), key(right)) != sign(Reference(left), Reference(right))
    ]


def test_order_is_python_debians() -> None:
    """Goal: memcmp of keys is dpkg's order. Method: 10,000 pairs of nasty versions against an independent
    implementation.
    """
    chance = random.Random(5)
    assert disagreements(((version(chance), version(chance)) for _ in range(20_000)), 10_000) == []


def test_order_of_near_neighbours() -> None:
    """Goal: the same where versions differ in one place. Method: cut, insert or change one character, then compare."""
    chance = random.Random(6)

    def neighbours() -> tuple[str, str]:
        left = version(chance)
        at = chance.randrange(len(left) + 1)
        return left, left[:at] + text(chance, ALPHABET, 2) + left[at + chance.randrange(3) :]

    assert disagreements((neighbours() for _ in range(20_000)), 10_000) == []


def test_order_is_dpkgs() -> None:
    """Goal: dpkg itself agrees. Method: `dpkg --compare-versions` over all pairs of neighbours, and of far ones, in our
    order.
    """
    versions = sorted((text for text in NASTY if valid(text)), key=key)
    assert len(versions) > 60
    pairs = [(versions[at], versions[at + step]) for step in (1, 2, 7, 30) for at in range(len(versions) - step)]
    # One shell for all: a line for each pair that dpkg sees otherwise.
    words = {-1: "lt-nl", 0: "eq"}
    script = "".join(
        f"dpkg --compare-versions '{left}' {words[sign(key(left), key(right))]} '{right}' || echo '{left}, {right}'\n"
        for left, right in pairs
    )
    done = subprocess.run(["sh"], input=script, capture_output=True, text=True, check=True, timeout=60)
    assert (done.stdout, done.stderr) == ("", "")


def test_validity_is_dpkgs() -> None:
    """Goal: what dpkg refuses we refuse, what it takes we take. Method: `dpkg --validate-version` over good and bad
    ones.
    """
    bad = [
        "a",
        "1_0",
        "1/2",
        "1:",
        ":1",
        "x:1",
        "1.0-",
        "2147483648:1",
        "1.0-a_b",
        "1é",
        "",
        "1:a",
        "-1",
        "1 0",
        "1^2",
        "1.0-é",
    ]
    for text in [*NASTY, *bad]:
        done = subprocess.run(
            ["dpkg", "--validate-version", text], capture_output=True, text=True, timeout=10, check=False
        )
        assert valid(text) == (done.returncode == 0), (text, done.stderr)


def test_equal_versions_have_equal_keys() -> None:
    """Goal: versions that dpkg calls equal cannot be told apart by order. Method: zeros and an epoch of 0."""
    assert key("1.0") == key("0:1.00-0") == key("1.0-00") == key("1.-0")


def test_parts_of_a_version() -> None:
    """Goal: the split is deb-version(7)'s. Method: epoch, colons and hyphens in the upstream part."""
    assert parse_version("1:2:3-4-5") == Version(1, "2:3-4", "5")
    assert parse_version("1.0") == Version(None, "1.0", None)
    assert parse_version("0:1.0-1").without_epoch == "1.0-1"


def test_order_key_is_name_version_architecture_digest() -> None:
    """Goal: the order of an index. Method: pairs that differ in one part only, and in two that pull apart."""
    digest = "00" * 32
    later = "01" * 32

    def full(name: str, version: str, architecture: str = "amd64", sha256: str = digest) -> bytes:
        return order_key(name, parse_version(version), architecture, sha256)

    assert full("a", "2") < full("a+", "1") < full("a-b", "1") < full("a0", "1") < full("ab", "1")
    assert full("a", "9", "i386") < full("a", "10", "amd64")
    assert full("a", "1", "amd64") < full("a", "1", "arm64") < full("a", "1.0", "all")
    assert full("a", "1.0", "all") < full("a", "1.0", "amd64", digest) < full("a", "1.0", "amd64", later)


@pytest.mark.parametrize("text", ["1" * 10_000, "1:" + "~" * 10_000])
def test_long_versions_are_refused_at_once(text: str) -> None:
    """Goal: no pattern runs away. Method: very long versions."""
    assert not valid("0" + text if text[1] == ":" else text)
    assert not re.fullmatch(r"[0-9]{1,255}", text)
