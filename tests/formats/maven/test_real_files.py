"""What people really deploy: the POMs and jars of Debian's Maven repository."""

from entrepot.model.errors import Refusal
from tests.formats.maven.judging import judge
from tests.support.maven import MAVEN_REPO


def test_real_poms_and_jars_of_debian_are_taken() -> None:
    """Goal: nothing that people really deploy is refused. Method: POMs and jars of Debian's Maven repository."""
    paths = sorted(path for path in MAVEN_REPO.rglob("*") if path.suffix in (".pom", ".jar") and path.is_file())[:1000]
    taken, odd = 0, []
    for path in paths:
        try:
            taken += judge(str(path.relative_to(MAVEN_REPO)), path.read_bytes()).package is not None
        except Refusal as refusal:
            # Debian keeps a second copy of each artifact under the made-up version `debian`, whose POM names the true
            # one.
            if refusal.code != "coordinates_mismatch" or refusal.numbers["field"] != "version":
                odd.append(f"{path} {refusal} {refusal.numbers}")
    assert odd == []
    assert taken > 100
