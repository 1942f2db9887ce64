"""Certificates and keys as files: each wrong pair is refused with a sentence that names the setting and the remedy."""

import shutil
import time
from pathlib import Path

import pytest

from entrepot.node.certificate import MemoryPair, Pair, TlsError, judge, server_context
from tests.support.process import run
from tests.support.tls import CertificateAuthority

P256 = ("ec", "-pkeyopt", "ec_paramgen_curve:P-256")
HOST = "packages.example.org"
DAY_S = 86_400


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> CertificateAuthority:
    """A private authority."""
    return CertificateAuthority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def good(authority: CertificateAuthority, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A pair for HOST and an address."""
    return authority.issue(tmp_path_factory.mktemp("good"), [HOST, "192.0.2.7"], key=P256)


def refused(certificate: Path, key: Path, *, host: str | None = None, now_s: float | None = None) -> str:
    """The sentence that a pair is refused with."""
    with pytest.raises(TlsError) as caught:
        judge(Pair.read(certificate, key), time.time() if now_s is None else now_s, host=host)
    return str(caught.value)


def test_a_good_pair_says_its_names_and_times(good: tuple[Path, Path]) -> None:
    """Goal: what is found is what openssl was asked for, whichever of its names clients ask for."""
    pair = Pair.read(*good)
    for host in (None, HOST, "192.0.2.7"):
        found = judge(pair, time.time(), host=host)
        assert found.names == ("192.0.2.7", HOST)
        assert 29 < (found.not_after - time.time()) / DAY_S <= 30
    assert repr(pair.key) not in repr(pair)


def test_one_file_may_hold_both(good: tuple[Path, Path], tmp_path: Path) -> None:
    """Goal: a file with certificate and key, as HAProxy wants it, serves as both; so does a link to it."""
    both = tmp_path / "both.pem"
    both.write_bytes(good[0].read_bytes() + good[1].read_bytes())
    (tmp_path / "link.pem").symlink_to(both)
    judge(Pair.read(tmp_path / "link.pem", both), time.time(), host=HOST)


def test_times_are_judged_by_our_clock(good: tuple[Path, Path]) -> None:
    """Goal: expired and not valid yet, each with its date. Method: the same pair at other times."""
    later, earlier = time.time() + 31 * DAY_S, time.time() - DAY_S
    assert "server.tls_cert: the certificate expired on" in refused(*good, now_s=later)
    assert "Renew it" in refused(*good, now_s=later)
    assert "is not valid before" in refused(*good, now_s=earlier)


def test_another_host(good: tuple[Path, Path]) -> None:
    """Goal: the names that it is for and the one that clients ask for stand side by side."""
    for host in ("pkg.example.org", "192.0.2.8"):
        text = refused(*good, host=host)
        assert f"is for 192.0.2.7, {HOST}, and clients ask for {host} (server.public_url)" in text


def test_not_for_a_server(authority: CertificateAuthority, tmp_path: Path) -> None:
    """Goal: a certificate for clients alone is refused, as every client would."""
    pair = authority.issue(tmp_path, [HOST], key=P256, usage="clientAuth")
    assert "Get one for a TLS server" in refused(*pair, host=HOST)


def test_pairs_that_do_not_belong_together(
    authority: CertificateAuthority, good: tuple[Path, Path], tmp_path: Path
) -> None:
    """Goal: another key, of the same kind and of another; and the chain before the server's own certificate."""
    same = authority.issue(tmp_path / "same", [HOST], key=P256)
    other = authority.issue(tmp_path / "other", [HOST])
    turned = tmp_path / "turned.pem"
    turned.write_bytes(authority.ca_file.read_bytes() + good[0].read_bytes())
    for certificate, key in ((good[0], same[1]), (good[0], other[1]), (turned, good[1])):
        text = refused(certificate, key)
        assert text.startswith("server.tls_key: this key does not belong to the certificate"), text


def test_files_that_are_something_else(good: tuple[Path, Path], tmp_path: Path) -> None:
    """Goal: missing, empty, DER, a key in the certificate's place, a locked key, a damaged one, a folder, a huge file:
    each is named with its setting, and no text of a key is shown.
    """
    der, locked, legacy, cut, huge, empty = (
        tmp_path / name for name in ("der", "locked", "legacy", "cut", "huge", "e")
    )
    run(["openssl", "x509", "-in", str(good[0]), "-outform", "der", "-out", str(der)])
    run(["openssl", "pkey", "-in", str(good[1]), "-aes256", "-passout", "pass:x", "-out", str(locked)])
    run(["openssl", "ec", "-in", str(good[1]), "-aes256", "-passout", "pass:x", "-out", str(legacy)])
    cut.write_text(good[1].read_text()[:120] + "\n-----END PRIVATE KEY-----\n")
    huge.write_bytes(bytes(300_000))
    empty.touch()
    cases = {
        (tmp_path / "none", good[1]): "server.tls_cert: .* does not exist",
        (good[0], tmp_path / "none"): "server.tls_key: .* does not exist",
        (empty, good[1]): "server.tls_cert: .* holds no certificate in PEM",
        (der, good[1]): "openssl x509 -inform der",
        (good[1], good[1]): "server.tls_cert: .* holds no certificate in PEM",
        (good[0], good[0]): "server.tls_key: .* holds no private key in PEM",
        (good[0], locked): "server.tls_key: .* is locked with a passphrase.*openssl pkey",
        (good[0], legacy): "server.tls_key: .* is locked with a passphrase",
        (good[0], cut): "the certificate or the key is damaged",
        (tmp_path, good[1]): "server.tls_cert: .* cannot be read: Is a directory",
        (huge, good[1]): "server.tls_cert: .* cannot be read: file is larger",
    }
    secret = "".join(good[1].read_text().splitlines()[1:-1])[:40]
    for (certificate, key), words in cases.items():
        with pytest.raises(TlsError, match=words) as caught:
            judge(Pair.read(certificate, key), time.time(), host=None)
        assert secret not in str(caught.value)


def test_what_lies_in_memory_is_what_was_read(good: tuple[Path, Path], tmp_path: Path) -> None:
    """Goal: files that are replaced after they were read change nothing. Method: both are removed in between."""
    pair = tuple(Path(shutil.copy(each, tmp_path)) for each in good)
    read = Pair.read(pair[0], pair[1])
    for each in pair:
        each.unlink()
    with MemoryPair(read) as held:
        assert Path(held.certificate_path).read_bytes() == read.certificate
        server_context(held)
    assert not Path(held.key_path).exists()
