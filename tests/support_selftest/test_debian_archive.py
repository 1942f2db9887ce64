"""The sample of Debian's archive and of its Maven repository."""

from pathlib import Path

import pytest

from tests.support.debian_archive import archive_sample, control_member, host_sources, maven_sample


@pytest.mark.clients
def test_archive_sample_covers_what_the_product_must_take() -> None:
    """Goal: at least 100 packages, xz and gz control, one above 50 MB, a source set, under 400 MB. Method: measure."""
    sample = archive_sample()
    sizes = [path.stat().st_size for path in sample.packages]
    assert len(sizes) >= 100
    assert max(sizes) > 50_000_000
    assert sum(sizes) < 400_000_000
    smallest = sorted(sample.packages, key=lambda path: path.stat().st_size)[:-1]
    assert {control_member(path) for path in smallest} >= {"control.tar.xz", "control.tar.gz"}
    listed = [line for line in sample.dsc.read_text().splitlines() if line.startswith(" ") and ".tar." in line]
    named = {line.split()[-1] for line in listed}
    assert named <= {path.name for path in sample.source}
    assert archive_sample() == sample


def test_host_sources_are_derived_from_both_styles(tmp_path: Path) -> None:
    """Goal: only the distribution's own entries are taken, with deb-src. Method: the host's; then one-line entries."""
    assert "Types: deb deb-src\n" in host_sources()
    suites = host_sources().split("Suites: ")[1].split()[0]
    (tmp_path / "sources.list").write_text(
        f"deb http://archive.example/debian {suites} main contrib\n"
        "deb http://other.example/ stable main\n# deb http://commented.example/ x main\n"
    )
    text = host_sources(tmp_path)
    assert "URIs: http://archive.example/debian\n" in text
    assert "Components: main contrib\n" in text
    assert "other.example" not in text


def test_maven_sample_has_jars_and_poms() -> None:
    """Goal: real coordinates with their files. Method: each POM exists and most have a jar."""
    sample = maven_sample(50)
    assert len(sample) == 50
    assert all(artifact.version in artifact.pom.name for artifact in sample)
    assert sum(artifact.jar is not None for artifact in sample) >= 20
