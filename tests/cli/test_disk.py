"""``entrepot disk`` and ``entrepot repo keep`` as they are typed."""

from pathlib import Path

from tests.cli.real import Client
from tests.support.deb import write_deb


def test_disk_and_keep(entrepot: Client, tmp_path: Path) -> None:
    """Goal: what people read, what programs read, and the exit codes. Method: versions, a dry run, the rule, the disk,
    the rule taken away, wrong numbers."""
    name = entrepot.repository("acme/kept")
    for version in ("1.0", "1.10", "1.9"):
        entrepot("push", f"{name}/debian/bookworm", write_deb(tmp_path, "hello", version))
    assert "every version is kept" in entrepot("repo", "keep", name).stdout
    shown = entrepot("repo", "keep", f"{name}/debian/bookworm", "1", "--dry-run").stdout
    assert "1 versions of each package in debian/bookworm" in shown
    assert "would take out  debian/bookworm  hello_1.9_amd64.deb" in shown
    assert "would take out 2 files" in shown
    assert entrepot.json("repo", "show", name)[0]["files"] == 3
    assert "took out 1 files" in entrepot("repo", "keep", name, "2").stdout
    assert entrepot.json("repo", "show", name)[0]["files"] == 2
    (rules,) = entrepot.json("repo", "keep", name)
    assert rules["rules"] == [{"distribution": None, "versions": 2}]
    text = entrepot("disk").stdout
    assert name in text
    assert "entrepot gc: " in text
    (found,) = entrepot.json("disk")
    assert {"volumes", "repositories", "remedies"} <= set(found)
    assert "every version is kept" in entrepot("repo", "keep", name, "none").stdout
    for wrong in ("0", "many", "-1"):
        assert "is no number of versions" in entrepot("repo", "keep", name, "--", wrong, rc=2).stderr
