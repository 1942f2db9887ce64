"""The distribution table against packagecloud's ids and shape."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from entrepot.catalog import distributions
from entrepot.catalog.engine import Catalog
from entrepot.model.errors import Refusal
from tests.catalog.helpers import NOW, open_catalog


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    opened = open_catalog(tmp_path)
    yield opened
    opened.close()


TABLE = distributions.DistributionTable(distributions.built_in())


@pytest.mark.parametrize(
    ("path", "number", "kind", "form"),
    [
        ("ubuntu/jammy", 237, "deb", "debian"),
        ("debian/bookworm", 215, "deb", "debian"),
        ("any/any", 35, "deb", "debian"),
        ("raspbian/forky", 292, "deb", "debian"),
        ("linuxmint/wilma", 294, "deb", "debian"),
        ("elementaryos/horus", 270, "deb", "debian"),
        ("el/9", 240, "rpm", "rpm"),
        ("fedora/41", 302, "rpm", "rpm"),
        ("scientific/7", 141, "rpm", "rpm"),
        ("ol/9", 244, "rpm", "rpm"),
        ("opensuse/15.6", 282, "rpm", "rpm"),
        ("sles/12.0", 177, "rpm", "rpm"),
        ("amazon/2023", 276, "rpm", "rpm"),
        ("rpm_any/rpm_any", 227, "rpm", "rpm"),
        ("poky/styhead", 301, "rpm", "rpm"),
        ("java/maven2", 167, "jar", "maven"),
        ("python/1", 166, "py", ""),
        ("node/1", 191, "node", ""),
        ("alpine/v3.20", 295, "alpine", ""),
        ("anyfile/1", 230, "anyfile", ""),
        ("helm/v1", 241, "helm", ""),
        ("terraform/modules-v1", 289, "terraform", ""),
        ("huggingface/spaces-v1", 299, "huggingface", ""),
    ],
)
def test_ids_that_clients_have_built_in(path: str, number: int, kind: str, form: str) -> None:
    """Goal: packagecloud's numbers. Method: at least one row of each family, both ways."""
    row = TABLE.by_path(path)
    assert (row.id, row.type, row.format) == (number, kind, form)
    assert TABLE.by_id(number) == row
    assert TABLE.by_family(row.family) == form


def test_the_table_is_whole_and_consistent() -> None:
    """Goal: no id twice, no path twice, and as many rows as packagecloud had, plus ours. Method: count."""
    rows = TABLE.all()
    assert len({row.id for row in rows}) == len({row.path for row in rows}) == len(rows)
    theirs = {row.id for row in rows if row.id <= 302}
    assert theirs == set(range(1, 36)) | set(range(138, 303))
    ours = {row.path for row in rows if row.id >= 100_000}
    assert ours == {
        *("ubuntu/plucky", "ubuntu/questing", "ubuntu/resolute", "debian/duke", "el/10", "ol/10"),
        *("fedora/42", "fedora/43", "fedora/44", "sles/15.7", "sles/16.0", "opensuse/16.0"),
    }


def test_version_numbers_name_a_distribution_too() -> None:
    """Goal: ``debian/12.0`` is bookworm, as in packagecloud's CLI. Method: by number; unknown ones are refused."""
    assert TABLE.by_path("debian/12.0").version == "bookworm"
    assert TABLE.by_path("ubuntu/22.04").version == "jammy"
    for wrong in ("debian/99", "nosuch/1", "debian/", "debian", "any/None", "../etc"):
        with pytest.raises(Refusal, match="distribution_unknown"):
            TABLE.by_path(wrong)
    with pytest.raises(Refusal, match="distribution_unknown"):
        TABLE.by_id(36)
    assert TABLE.by_family("nosuch") is None


def test_shape_of_distributions_json() -> None:
    """Goal: exactly packagecloud's keys, in each place. Method: walk the whole document."""
    shape = TABLE.to_packagecloud()
    assert {"deb", "rpm", "py", "jar", "node", "alpine", "anyfile", "helm", "dsc"} <= set(shape)
    assert "gem" not in shape
    assert shape["dsc"] == shape["deb"]
    for kind, families in shape.items():
        for family in families:
            assert set(family) == {"display_name", "index_name", "versions"}
            for version in family["versions"]:
                keys = (
                    {"id", "display_name"} if kind == "py" else {"id", "display_name", "index_name", "version_number"}
                )
                assert set(version) == keys
    assert shape["deb"][0]["versions"][0] == {
        "id": 1,
        "display_name": "4.10 Warty Warthog",
        "index_name": "warty",
        "version_number": "4.10",
    }
    anything = next(family for family in shape["deb"] if family["index_name"] == "any")
    assert anything["versions"] == [
        {"id": 35, "display_name": "Any version.", "index_name": "any", "version_number": None}
    ]


def test_adding(catalog: Catalog) -> None:
    """Goal: a new release or a new family works by configuration. Method: add both; the refusals."""
    one = catalog.submit(lambda conn: distributions.add(conn, "debian/forky2", NOW, version_number="99.0"))
    two = catalog.submit(lambda conn: distributions.add(conn, "astra/1.8", NOW, like="debian", display="1.8 Astra"))
    assert [one.id, two.id] == [200_000, 200_001]
    assert (one.format, one.family_display, two.format, two.family_display) == ("debian", "Debian", "debian", "astra")
    with catalog.read() as conn:
        table = distributions.load(conn)
    assert table.by_path("astra/1.8") == two
    assert table.by_path("debian/99.0") == one
    shape = table.to_packagecloud()
    assert shape["deb"][1]["versions"][-1]["index_name"] == "forky2"
    assert shape["deb"][-1]["index_name"] == "astra"
    for path, like, code in (
        ("debian/bookworm", None, "distribution_exists"),
        ("astra/1.8", "debian", "distribution_exists"),
        ("brandnew/1", None, "field_invalid"),
        ("brandnew/1", "nosuch", "distribution_unknown"),
        ("bad", None, "distribution_unknown"),
        ("a/../b", "debian", "distribution_unknown"),
    ):
        with pytest.raises(Refusal) as caught:
            catalog.submit(lambda conn, p=path, k=like: distributions.add(conn, p, NOW, like=k))  # type: ignore[misc]
        assert caught.value.code == code
