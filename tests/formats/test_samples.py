"""The contract of every format's sample: the server takes it, and the format's own tools install it."""

import hashlib
import io
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from entrepot.catalog import distributions
from entrepot.formats.protocol import Format, IndexFault, PackageFacts, Sample, Upload, UploadTarget
from entrepot.formats.registry import formats
from entrepot.model.nouns import Digests
from entrepot.streams.window import Window
from tests.support.process import run

SERIAL, PAYLOAD_BYTES = 1_764_115_200, 4096
EVERY_FORMAT = pytest.mark.parametrize("fmt", formats().values(), ids=lambda fmt: fmt.name)


class Shelf:
    """A repository as a mapping of paths; every signature is taken for good."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self.files = files

    def fetch(self, path: str) -> bytes | None:
        """The file, or None."""
        return self.files.get(path)

    def verify(self, document: bytes, signature: bytes | None = None) -> bytes:
        """The document itself."""
        return document


def judge(fmt: Format, path: str, content: bytes) -> PackageFacts:
    """What inspection makes of a file of a sample, through the window that the format asks for."""
    target = fmt.route("PUT", path)
    assert isinstance(target, UploadTarget)
    needs = fmt.needs(target.path)
    tail = content[-needs.tail_bytes :] if needs.tail_bytes else b""
    window = Window.of_ends(len(content), content[: needs.head_bytes], tail)
    upload = Upload(target.distribution, target.path, len(content), Digests(hashlib.sha256(content).hexdigest()))
    facts = fmt.inspect(upload, window).package
    assert facts is not None
    return facts


@EVERY_FORMAT
def test_a_sample_is_a_package_of_its_format(fmt: Format) -> None:
    """Goal: the server takes each file under the name and version that the sample says, into a distribution that every
    server knows. Method: route and inspect."""
    sample = fmt.sample(SERIAL, PAYLOAD_BYTES)
    assert sample.distribution in {row.path for row in distributions.built_in() if row.format == fmt.name}
    for file in sample.files:
        facts = judge(fmt, file.path, file.content)
        assert (facts.name, facts.version, facts.requires) == (sample.name, sample.version, ())
        assert file.path == f"{sample.distribution}/{facts.path}"


@EVERY_FORMAT
def test_equal_serials_give_equal_bytes(fmt: Format) -> None:
    """Goal: a run is told from the next by its serial alone, and the payload is what was asked for. Method: make it
    several times."""
    sample, again = fmt.sample(SERIAL, PAYLOAD_BYTES), fmt.sample(SERIAL, PAYLOAD_BYTES)
    assert sample == again
    other = fmt.sample(SERIAL + 1, PAYLOAD_BYTES)
    assert other.version != sample.version
    assert not {file.path for file in other.files} & {file.path for file in sample.files}
    small, large = total(fmt.sample(SERIAL, 0)), total(fmt.sample(SERIAL, 65_536))
    assert small < 16_384
    # An archive's own padding (tar: 10 KiB) aside.
    assert abs(large - small - 65_536) < 16_384, "the payload was packed, or is there twice"


def total(sample: Sample) -> int:
    """Bytes of all files."""
    return sum(len(file.content) for file in sample.files)


@EVERY_FORMAT
def test_nothing_is_located_where_nothing_is_published(fmt: Format) -> None:
    """Goal: an empty repository lists no sample, and is no fault. Method: a shelf without files."""
    assert fmt.locate(fmt.sample(SERIAL, 0), Shelf({})) == ()


ENTRY_POINTS = {
    "debian": ("debian/dists/bookworm/InRelease", b"SHA256:\n", b"Codename: bookworm\nSHA256:\n bad 1 x/Packages\n"),
    "rpm": ("el/9/x86_64/repodata/repomd.xml", b"<repomd", b"<repomd/>"),
    "maven": ("java/maven2/entrepot/entrepot-canary/maven-metadata.xml", b"", b"<metadata/>"),
}


@EVERY_FORMAT
def test_an_index_that_does_not_hold_together_is_a_fault(fmt: Format) -> None:
    """Goal: a torn index never counts as `not listed`. Method: entry points that are cut off, name nothing, or lack
    what belongs to them."""
    path, *broken = ENTRY_POINTS[fmt.name]
    for text in broken:
        with pytest.raises(IndexFault):
            fmt.locate(fmt.sample(SERIAL, 0), Shelf({path: text}))
        with pytest.raises(IndexFault):
            fmt.locate(fmt.sample(SERIAL, 0), Shelf({path: text, f"{path}.asc": b"", f"{path}.sha256": b"0" * 64}))


def written(sample: Sample, folder: Path) -> list[Path]:
    """The sample's files below ``folder``."""
    made = []
    for file in sample.files:
        made.append(folder / file.path.rpartition("/")[2])
        made[-1].write_bytes(file.content)
    return made


def installs_with_dpkg(sample: Sample, folder: Path) -> Path:
    """Install with dpkg into a root of its own."""
    (deb,) = written(sample, folder)
    assert "Package: entrepot-canary" in run(["dpkg-deb", "--info", deb]).stdout
    root = folder / "root"
    (root / "var/lib/dpkg/info").mkdir(parents=True)
    (root / "var/lib/dpkg/status").touch()
    run(["dpkg", f"--root={root}", "--force-not-root", "--force-bad-path", "--force-architecture", "--install", deb])
    return root


def installs_with_rpm(sample: Sample, folder: Path) -> Path:
    """Check every digest with rpm, and install into a root of its own."""
    (package,) = written(sample, folder)
    root = folder / "root"
    root.mkdir()
    verdict = run(["rpm", "-Kv", "--nosignature", package]).stdout
    assert "Payload SHA256 digest: OK" in verdict
    assert "NOT OK" not in verdict
    assert f"Version     : {sample.version}" in run(["rpm", "-qip", "--nosignature", package]).stdout
    run(["rpm", f"--root={root}", "--nosignature", "--nodeps", "--ignorearch", "-i", package])
    return root


def unpacks_as_a_jar(sample: Sample, folder: Path) -> Path:
    """Test the jar and unpack it."""
    jar, _pom = written(sample, folder)
    run(["unzip", "-t", jar])
    with zipfile.ZipFile(io.BytesIO(jar.read_bytes())) as archive:
        archive.extractall(folder / "root")
    return folder / "root"


INSTALL: Mapping[str, Callable[[Sample, Path], Path]] = {
    "debian": installs_with_dpkg,
    "rpm": installs_with_rpm,
    "maven": unpacks_as_a_jar,
}


@EVERY_FORMAT
def test_a_sample_installs(fmt: Format, tmp_path: Path) -> None:
    """Goal: the sample is a real package. Method: the format's own tools install it, and its payload is there."""
    root = INSTALL[fmt.name](fmt.sample(SERIAL, PAYLOAD_BYTES), tmp_path)
    (found,) = (path for path in root.rglob("payload") if path.is_file())
    assert found.stat().st_size == PAYLOAD_BYTES
