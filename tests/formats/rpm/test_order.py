"""order_key sorts as rpm does."""

import itertools
from functools import cmp_to_key

from hypothesis import given, settings
from hypothesis import strategies as st

from entrepot.formats.rpm.order import evr_key, order_key, version_key
from tests.support.process import run

# The traps of rpmvercmp: leading zeros, runs of different kinds, separators that do not count, tilde and caret,
# letters after digits.
_WORDS = (
    "0 00 1 01 10 9 1.0 1..0 1.0. 1_0 1.00 1.0a 1.0.a 1a 1.a a A aa ab a1 1~ 1~~ 1~rc1 1~rc1~git 1^ 1^^ "
    "1^git 1^git1~x 1^1 1.1^2 1~^ 1^~ 1.0~rc1^b 1.0^b~rc1 ~ ^ ~1 ^1 . _ + 1+ 1+b1 20240101 20240101gitabc "
    "99999999999999999999 100000000000000000000 1.2.3-like 1.el9 1.el10 5.fc40 5.fc9 "
)
KNOWN = _WORDS.split()

versions = st.one_of(
    st.sampled_from(KNOWN),
    st.text("0123ab.~^_+A", max_size=8),
    st.lists(st.sampled_from([*KNOWN, ".", "~", "^", "0"]), min_size=1, max_size=3).map("".join),
).filter(bool)


def rpm_compare(pairs: list[tuple[str, str]]) -> list[int]:
    """What the installed rpm says of each pair: -1, 0 or 1."""
    words = " ".join(itertools.chain.from_iterable(pairs))
    script = (
        f'%{{lua: local last = nil for word in ("{words}"):gmatch("[^ ]+") do if last then'
        ' print(rpm.vercmp(last, word) .. " ") last = nil else last = word end end}'
    )
    return [int(word) for word in run(["rpm", "--eval", script]).stdout.split()]


def sign(one: bytes, two: bytes) -> int:
    """memcmp's answer as -1, 0 or 1."""
    return (one > two) - (one < two)


def test_every_pair_of_known_versions() -> None:
    """Goal: the encoding is rpmvercmp. Method: compare all pairs of hand-picked versions with the real rpm."""
    pairs = list(itertools.product(KNOWN, KNOWN))
    answers: list[int] = []
    for start in range(0, len(pairs), 1000):
        answers += rpm_compare(pairs[start : start + 1000])
    assert len(answers) == len(pairs)
    assert [(a, b, sign(version_key(a), version_key(b))) for a, b in pairs] == [
        (a, b, answer) for (a, b), answer in zip(pairs, answers, strict=True)
    ]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(versions, versions), min_size=20, max_size=120))
def test_random_versions(pairs: list[tuple[str, str]]) -> None:
    """Goal: no version is sorted apart from rpm. Method: random pairs, in batches, against the real rpm."""
    assert [sign(version_key(a), version_key(b)) for a, b in pairs] == rpm_compare(pairs)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), versions, versions), min_size=2, max_size=12))
def test_epoch_version_release(rows: list[tuple[int, str, str]]) -> None:
    """Goal: epoch, then version, then release, and a version never runs into the release. Method: sort by rpm's own
    comparisons."""

    def compare(one: tuple[int, str, str], two: tuple[int, str, str]) -> int:
        if one[0] != two[0]:
            return -1 if one[0] < two[0] else 1
        by_version, by_release = rpm_compare([(one[1], two[1]), (one[2], two[2])])
        return by_version or by_release

    assert [evr_key(*row) for row in sorted(rows, key=cmp_to_key(compare))] == sorted(evr_key(*row) for row in rows)


def test_name_first_then_architecture_then_content() -> None:
    """Goal: a name that begins another one sorts before all of its versions; ties are settled. Method: keys in the
    wanted order."""
    zero, one = "00" * 32, "01" * 32
    wanted = [
        order_key("lib", 1, "9", "1", "x86_64", zero),
        order_key("lib-devel", 0, "1", "1", "x86_64", zero),
        order_key("lib2", 0, "1", "1", "i686", one),
        order_key("lib2", 0, "1", "1", "noarch", zero),
        order_key("lib2", 0, "1", "1", "noarch", one),
        order_key("lib2", 0, "1.1", "1", "i686", zero),
    ]
    assert sorted(wanted, reverse=True)[::-1] == wanted


def test_the_reference_is_there() -> None:
    """Goal: the comparisons above are made by rpm. Method: one answer of each kind."""
    assert rpm_compare([("1~a", "1"), ("1", "1"), ("1^a", "1")]) == [-1, 0, 1]
