"""`entrepot push` against the real server: what is sent, what is listed, and how it ends."""

import gzip
import json
import os
import subprocess
import urllib.request
from pathlib import Path

import pytest

from tests.cli.real import PROGRAM, Client
from tests.support.builders import FastRpm, deb_bytes, fast_rpm_bytes, make_dsc, make_jar, make_pom, write_deb
from tests.support.process import kill_group, run, without_proxies
from tests.support.server import ServerProcess


def metric(server: ServerProcess, name: str) -> float:
    """A number of the server's metrics, without labels."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://127.0.0.1:{server.port + 1}/metrics", timeout=10) as answer:
        for line in answer.read().decode().splitlines():
            if line.startswith(name + " "):
                return float(line.split()[1])
    raise AssertionError(f"no metric {name}")


def listed(server: ServerProcess, repository: str, codename: str = "bookworm") -> set[str]:
    """The packages that a Packages file lists."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    url = f"{server.url}/{repository}/debian/dists/{codename}/main/binary-amd64/Packages.gz"
    with opener.open(url, timeout=10) as answer:
        text = gzip.decompress(answer.read()).decode()
    return {line.removeprefix("Package: ") for line in text.splitlines() if line.startswith("Package: ")}


def debs(folder: Path, count: int, size_bytes: int = 2000) -> list[Path]:
    """Packages of about this size that do not compress."""
    folder.mkdir()
    paths = []
    for number in range(count):
        content = {"usr/share/x": number.to_bytes(4) * (size_bytes // 4)}
        deb = deb_bytes(f"pkg{number:03}", compression="none", files=content)
        paths.append(write_deb(folder, f"pkg{number:03}", content=deb))
    return paths


def test_zero_means_listed(entrepot: Client, tmp_path: Path) -> None:
    """Goal: exit code 0 and every package in the index at that moment. Method: push a folder, read Packages at once."""
    repository = entrepot.repository("acme/zero")
    debs(tmp_path / "d", 12)
    result = entrepot("push", f"{repository}/debian/bookworm", tmp_path / "d")
    assert len(listed(entrepot.server, repository)) == 12
    assert result.stdout.count("published ") == 12
    assert "12 published" in result.stdout
    assert "\x1b" not in result.output  # quiet when not a terminal


def test_bytes_go_once_to_several_distributions(entrepot: Client, tmp_path: Path) -> None:
    """Goal: three distributions cost one upload, a fourth none. Method: the server's own count of received bytes."""
    repository = entrepot.repository("acme/once")
    size = sum(path.stat().st_size for path in debs(tmp_path / "d", 3, 100_000))
    before = metric(entrepot.server, "entrepot_upload_bytes_total")
    three = [f"{repository}/debian/bookworm", f"{repository}/debian/trixie", f"{repository}/ubuntu/noble"]
    entrepot("push", *three, tmp_path / "d")
    assert metric(entrepot.server, "entrepot_upload_bytes_total") - before == size
    lines = entrepot.json("push", repository, "debian/bookworm,debian/bullseye", tmp_path / "d")
    assert lines[-1]["sent_bytes"] == 0
    assert [line["distributions"] for line in lines[:-1]] == [["debian/bullseye"]] * 3
    assert metric(entrepot.server, "entrepot_upload_bytes_total") - before == size
    for codename in ("bookworm", "trixie", "bullseye"):
        assert len(listed(entrepot.server, repository, codename)) == 3


@pytest.mark.fault
def test_a_killed_push_carries_on(entrepot: Client, tmp_path: Path) -> None:
    """Goal: after kill -9 only the missing files are sent, and no file is hashed twice.

    Method: kill the program's group after the fifth published file of sixty; run it again and compare.
    """
    repository = entrepot.repository("acme/killed")
    paths = debs(tmp_path / "d", 60, 40_000)
    words = [PROGRAM, "push", f"{repository}/debian/bookworm", str(tmp_path / "d"), "--json", "--parallel", "2"]
    process = subprocess.Popen(
        words, stdout=subprocess.PIPE, env=without_proxies(entrepot.env()), start_new_session=True, text=True
    )
    assert process.stdout is not None
    published = set()
    for _ in range(5):
        published.add(json.loads(process.stdout.readline())["name"])
    kill_group(process.pid)
    process.wait()
    process.stdout.close()
    remembered = (entrepot.home / ".cache/entrepot/sha256.jsonl").read_bytes()
    assert remembered.count(b"\n") == 60
    lines = entrepot.json("push", f"{repository}/debian/bookworm", tmp_path / "d")
    status = {line["name"]: line["status"] for line in lines[:-1]}
    assert all(status[name] == "present" for name in published)
    again = {name for name, word in status.items() if word == "published"}
    assert 0 < len(again) <= 55
    assert lines[-1]["sent_bytes"] == sum(path.stat().st_size for path in paths if path.name in again)
    assert (entrepot.home / ".cache/entrepot/sha256.jsonl").read_bytes() == remembered
    assert len(listed(entrepot.server, repository)) == 60


def test_taken_names(entrepot: Client, tmp_path: Path) -> None:
    """Goal: the same bytes are fine, other bytes are a conflict (5), or skipped. Method: a rebuilt package."""
    repository = entrepot.repository("acme/taken")
    place = f"{repository}/debian/bookworm"
    one, other = tmp_path / "1", tmp_path / "2"
    one.mkdir()
    other.mkdir()
    write_deb(one, "hello")
    write_deb(other, "hello", content=deb_bytes("hello", files={"usr/x": b"other"}))
    entrepot("push", place, one)
    assert "there already" in entrepot("push", place, one).stdout
    refused = entrepot("push", place, other, rc=5)
    assert "name_taken" in refused.stderr
    assert "skipped" in entrepot("push", place, other, "--skip-duplicates").stdout
    assert entrepot.json("push", place, other, rc=5)[0]["status"] == "conflict"


def test_json_shape(entrepot: Client, tmp_path: Path) -> None:
    """Goal: the documented members, one object a line. Method: one good and one bad file."""
    repository = entrepot.repository("acme/shape")
    write_deb(tmp_path, "good")
    (tmp_path / "bad_1_amd64.deb").write_bytes(b"not a package")
    lines = entrepot.json("push", f"{repository}/debian/bookworm", f"{tmp_path}/*.deb", rc=1)
    members = {"event", "file", "name", "status", "distributions", "size_bytes", "sha256", "sent_bytes", "seconds"}
    assert all(set(line) == members | {"code", "detail"} for line in lines[:-1])
    assert {line["name"]: (line["status"], line["code"]) for line in lines[:-1]} == {
        "bad_1_amd64.deb": ("refused", "not_a_package"),
        "good_1.0-1_amd64.deb": ("published", None),
    }
    summary = lines[-1]
    assert set(summary) == {"event", "files", "counts", "sent_bytes", "seconds", "exit_code"}
    assert (summary["event"], summary["files"], summary["exit_code"]) == ("summary", 2, 1)
    assert (summary["counts"]["published"], summary["counts"]["refused"]) == (1, 1)


def test_exit_codes_before_anything_is_sent(entrepot: Client, tmp_path: Path) -> None:
    """Goal: 2, 3 and 4 as documented. Method: a wrong word, a wrong token, a wrong port; 1 for no such repository."""
    deb = write_deb(tmp_path, "hello")
    place = "acme/none/debian/bookworm"
    entrepot("push", place, tmp_path / "missing.deb", rc=2)
    entrepot("push", place, "n" * 300, rc=2)
    entrepot("push", place, "~nobody-of-this-name/x.deb", rc=2)
    entrepot("push", "acme/none/debian/nosuch", deb, rc=2)
    entrepot("push", "--parallel", "0", place, deb, rc=2)
    assert "repository_unknown" in entrepot("push", place, deb, rc=1).stderr
    assert "token_unknown" in entrepot("push", place, deb, rc=3, env={"ENTREPOT_TOKEN": "0" * 48}).stderr
    away = {"ENTREPOT_URL": "http://127.0.0.1:1"}
    assert "unreachable" in entrepot("push", place, deb, "--retry-for", "0", rc=4, env=away).stderr
    assert entrepot.json("push", place, deb, "--retry-for", "0", rc=4, env=away)[0]["code"] == "unreachable"


def test_parts_that_cannot_be_pushed_cost_themselves_alone(entrepot: Client, tmp_path: Path) -> None:
    """Goal: a line for each, exit code 1, no traceback, no invalid JSON; the good file is published.

    Method: a folder with a link that leads nowhere and a name that is not UTF-8, shown in lines and as JSON, and by the
    program itself where the terminal has no UTF-8.
    """
    repository = entrepot.repository("acme/parts")
    place = f"{repository}/debian/bookworm"
    folder = tmp_path / "d"
    folder.mkdir()
    write_deb(folder, "good")
    (folder / "lost.deb").symlink_to("nowhere")
    Path(os.fsdecode(bytes(folder) + b"/\xe9.deb")).write_bytes(b"x")
    shown = entrepot("push", place, folder, rc=1)
    assert "1 published, 2 refused" in shown.stdout
    assert f"refused           {folder}/lost.deb: This link leads nowhere. [file_unreadable]" in shown.stderr
    assert f"{folder}/\N{REPLACEMENT CHARACTER}.deb: Its name is not UTF-8" in shown.stderr
    lines = entrepot.json("push", place, folder, rc=1)
    assert {line["name"]: line["code"] for line in lines[:-1]} == {
        "good_1.0-1_amd64.deb": None,
        "lost.deb": "file_unreadable",
        "\N{REPLACEMENT CHARACTER}.deb": "file_name_invalid",
    }
    env = without_proxies({**entrepot.env(), "PYTHONIOENCODING": "latin-1", "PYTHONUTF8": "0"})
    for options in ([], ["--json"]):
        words = [PROGRAM, "push", place, str(folder), *options]
        ended = subprocess.run(words, capture_output=True, timeout=30, env=env, check=False)
        assert (ended.returncode, b"Traceback" in ended.stderr) == (1, False), ended.stderr
    assert [json.loads(line)["event"] for line in ended.stdout.splitlines()] == ["file", "file", "file", "summary"]


def test_an_empty_word_is_not_the_working_folder(
    entrepot: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goal: a variable of the shell that is not set pushes nothing. Method: a package in the working folder, an empty
    word after the target, instead of it, and beside it.
    """
    repository = entrepot.repository("acme/empty")
    write_deb(tmp_path, "hello")
    monkeypatch.chdir(tmp_path)
    for words in ([f"{repository}/debian/bookworm", ""], ["", "."], [repository, "", "."]):
        assert "empty" in entrepot("push", *words, rc=2).stderr
    assert entrepot.json("repo", "show", repository)[0]["files"] == 0


def test_a_read_token_cannot_push(entrepot: Client, tmp_path: Path) -> None:
    """Goal: 403 is exit code 3, and --token-file is read. Method: a token of role read in a file."""
    repository = entrepot.repository("acme/reader")
    token = entrepot("token", "create", "r", "--role", "read", "--repo", repository).stdout
    (tmp_path / "token").write_text(token)
    deb = write_deb(tmp_path, "hello")
    refused = entrepot("push", f"{repository}/debian/bookworm", deb, "--token-file", tmp_path / "token", rc=3)
    assert "role_too_low" in refused.stderr


def test_a_source_package_by_its_dsc(entrepot: Client, tmp_path: Path) -> None:
    """Goal: a .dsc brings its files and is listed. Method: push the .dsc alone; read Sources."""
    repository = entrepot.repository("acme/source")
    package = make_dsc(tmp_path, "hello")
    lines = entrepot.json("push", f"{repository}/debian/bookworm", package.dsc)
    assert {line["name"] for line in lines[:-1]} == {path.name for path in (package.dsc, *package.members)}
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    url = f"{entrepot.server.url}/{repository}/debian/dists/bookworm/main/source/Sources.gz"
    with opener.open(url, timeout=10) as answer:
        assert b"Package: hello" in gzip.decompress(answer.read())


def test_rpms(entrepot: Client, tmp_path: Path) -> None:
    """Goal: a folder of rpms, found below it. Method: push it; repomd.xml is there."""
    repository = entrepot.repository("acme/rpms")
    folder = tmp_path / "RPMS/x86_64"
    folder.mkdir(parents=True)
    for name in ("one", "two"):
        package = FastRpm(name)
        (folder / package.file_name).write_bytes(fast_rpm_bytes(package))
    result = entrepot("push", f"{repository}/el/9", tmp_path / "RPMS")
    assert "2 published" in result.stdout
    run(["curl", "-fsS", f"{entrepot.server.url}/{repository}/el/9/x86_64/repodata/repomd.xml"])


def test_maven_layout_and_coordinates(entrepot: Client, tmp_path: Path) -> None:
    """Goal: both ways to push artifacts. Method: a local repository, then files; the versions are listed."""
    repository = entrepot.repository("acme/java")
    base = tmp_path / "m2/org/acme/app/1.0"
    base.mkdir(parents=True)
    (base / "app-1.0.jar").write_bytes(make_jar({"a": b"1"}))
    (base / "app-1.0.pom").write_bytes(make_pom("org.acme", "app", "1.0"))
    (base / "_remote.repositories").write_text("local")
    assert "2 published" in entrepot("push", f"{repository}/java/maven2", tmp_path / "m2").stdout
    jar, pom = tmp_path / "app.jar", tmp_path / "pom.xml"
    jar.write_bytes(make_jar({"a": b"2"}))
    pom.write_bytes(make_pom("org.acme", "app", "1.1"))
    entrepot("push", f"{repository}/java", "--coordinates", "org.acme:app:1.1", jar, pom)
    url = f"{entrepot.server.url}/{repository}/maven2/org/acme/app/maven-metadata.xml"
    metadata = run(["curl", "-fsS", url]).stdout
    assert "<version>1.0</version>" in metadata
    assert "<version>1.1</version>" in metadata
