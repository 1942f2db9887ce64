"""The order of versions, judged by Maven's own ComparableVersion."""

import glob
import random
import re
from pathlib import Path

from entrepot.formats.maven.versions import compare, is_snapshot, ordered, sort_key
from tests.support.process import client_env, run

SIGNS = {"<": -1, "==": 0, ">": 1}
QUALIFIERS = (
    "alpha",
    "beta",
    "a",
    "b",
    "m",
    "milestone",
    "rc",
    "cr",
    "snapshot",
    "ga",
    "final",
    "release",
    "sp",
    "foo",
    "x",
)
NUMBERS = ("0", "00", "1", "2", "10", "007", "20260101", "99999999999999999999", "1" * 40)


def _judge(versions: list[str]) -> list[tuple[str, str, int]]:
    """What Maven says of each neighbouring pair: (left, right, sign)."""
    jars = ":".join(glob.glob("/usr/share/maven/lib/*.jar"))
    main = "org.apache.maven.artifact.versioning.ComparableVersion"
    shown = run(["java", "-Xshare:auto", "-cp", jars, main, *versions], env=client_env(Path("/nonexistent"))).stdout
    signs = [SIGNS[sign] for sign in re.findall(r"^   \S* (<|==|>) \S*$", shown, re.MULTILINE)]
    assert len(signs) == len(versions) - 1
    return list(zip(versions, versions[1:], signs, strict=False))


def _random_version(source: random.Random) -> str:
    parts = [source.choice((*NUMBERS, *QUALIFIERS, "")) for _ in range(source.randint(1, 6))]
    glue = [source.choice((".", "-", ".", "-", "")) for _ in parts]
    text = "".join(part + mark for part, mark in zip(parts, glue, strict=True)).rstrip(".-")
    return text.upper() if source.random() < 0.1 else text or "1"


def _near(source: random.Random, text: str) -> str:
    """A version that shares most of its text: near ones find what far ones, decided by their first number, do not."""
    pieces = re.findall(r"[0-9]+|[A-Za-z]+|[.-]", text)
    at = source.randrange(len(pieces))
    kind = source.choice((NUMBERS, QUALIFIERS, (".", "-"), ("",)))
    pieces[at : at + source.randint(0, 1)] = [source.choice(kind)]
    return "".join(pieces).strip(".-") or "1"


def test_order_is_mavens_on_random_versions() -> None:
    """Goal: `latest` is the version that Maven calls the greatest. Method: 6,000 random pairs, Maven judges each."""
    source = random.Random(20260101)
    versions = [_random_version(source)]
    while len(versions) < 6000:
        versions.append(_random_version(source) if source.random() < 0.3 else _near(source, versions[-1]))
    wrong = [(one, other, sign) for one, other, sign in _judge(versions) if compare(one, other) != sign]
    assert not wrong, wrong[:20]


USUAL = [
    "0.9",
    "1.0-alpha-1",
    "1.0-alpha-2",
    "1.0-alpha-10",
    "1.0-beta-1",
    "1.0-milestone-1",
    "1.0-rc1",
    "1.0-RC2",
    "1.0-SNAPSHOT",
    "1.0",
    "1.0-sp",
    "1.0-foo",
    "1.0-1",
    "1.0.1-SNAPSHOT",
    "1.0.1",
    "1.1",
    "1.2",
    "1.9",
    "1.10",
    "2.0.0-M1",
    "2.0.0",
    "10.0",
    "20260101",
]


def test_usual_versions_in_order_and_key_agrees() -> None:
    """Goal: the usual shapes come out in Maven's order, and the sort key (an approximation) agrees on them."""
    assert all(sign == -1 for _, _, sign in _judge(USUAL))
    assert ordered(random.Random(1).sample(USUAL, len(USUAL))) == USUAL
    assert sorted(USUAL, key=sort_key) == USUAL


def test_equal_versions_have_a_stable_order() -> None:
    """Goal: metadata does not change from one publication to the next because 1 and 1.0 are equal."""
    assert compare("1", "1.0.0") == 0
    assert ordered(["1.0.0", "1", "1.0"]) == ordered(["1.0", "1.0.0", "1"]) == ["1", "1.0", "1.0.0"]


def test_snapshots_are_told_from_releases() -> None:
    """Goal: only the suffix Maven knows makes a snapshot."""
    assert is_snapshot("1.0-SNAPSHOT")
    assert is_snapshot("SNAPSHOT")
    assert not any(
        is_snapshot(each) for each in ("1.0", "1.0SNAPSHOT", "1.0-snapshot", "1.0-SNAPSHOT-1", "1.0-20260101.000000-1")
    )
