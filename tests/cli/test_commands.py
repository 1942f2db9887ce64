"""Every other command against the real server, and the time that `--help` takes."""

import os
import resource
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from entrepot.cli import frame
from entrepot.cli.main import app
from entrepot.model.units import size_text
from tests.cli.real import PROGRAM, Client
from tests.support.builders import write_deb
from tests.support.process import without_proxies

# Typed as anything: typer brings a click of its own, which has no public name.
COMMAND: Any = typer.main.get_command(app)
HELP_CPU_S_MAX = 0.3


def help_words(command: Any = COMMAND, words: tuple[str, ...] = ()) -> Iterator[list[str]]:
    """Every command, and every group of them."""
    yield list(words)
    for name, each in getattr(command, "commands", {}).items():
        yield from help_words(each, (*words, name))


@pytest.mark.parametrize("words", list(help_words()), ids=" ".join)
def test_help(words: list[str]) -> None:
    """Goal: every command explains itself without a server, and each of its arguments and options. Method: --help of
    each; the texts of its parameters.

    Seen to fail with the text of one argument taken out.
    """
    result = CliRunner().invoke(app, [*words, "--help"], prog_name="entrepot")
    assert result.exit_code == 0
    assert result.stdout.startswith(f"Usage: {' '.join(['entrepot', *words])}")
    assert len(result.stdout.splitlines()) > 5
    command = COMMAND
    for word in words:
        command = command.commands[word]
    assert [each.name for each in command.params if not (each.hidden or each.help)] == []


def test_the_program_is_the_same_as_its_parts(entrepot: Client) -> None:
    """Goal: what is installed as `entrepot` runs these commands. Method: help, an answer and a refusal as a program."""

    def program(*words: str) -> subprocess.CompletedProcess[str]:
        env = without_proxies(entrepot.env())
        return subprocess.run([PROGRAM, *words], capture_output=True, text=True, timeout=60, env=env, check=False)

    assert program("--help").stdout.startswith("Usage: entrepot")
    shown = program("distro", "list", "debian/bookworm", "--json")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout == entrepot("distro", "list", "debian/bookworm", "--json").stdout
    refused = program("repo", "show", "acme/no-such-repository")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr == entrepot("repo", "show", "acme/no-such-repository", rc=1).stderr


@pytest.mark.serial
def test_help_is_quick() -> None:
    """Goal: --help within 0.3 s. Method: the best of seven, in seconds of CPU, which other programs do not change."""
    found = []
    for _ in range(7):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([PROGRAM, "--help"], stdout=subprocess.DEVNULL, timeout=30, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        found.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(found) <= HELP_CPU_S_MAX


def test_help_loads_neither_rich_nor_the_network_nor_the_server() -> None:
    """Goal: the reason for the above stays. Method: the modules that `--help` loads."""
    code = "import sys, entrepot.cli.main; print(*sys.modules)"
    python = Path(PROGRAM).with_name("python")
    loaded = subprocess.run([python, "-c", code], capture_output=True, text=True, timeout=30, check=True).stdout.split()
    heavy = {"rich", "httpx", "pydantic", "starlette", "sqlalchemy", "stamina", "asyncio", "ssl"}
    assert not heavy & set(loaded)


def test_completion() -> None:
    """Goal: the shell can complete words. Method: ask as bash would."""
    env = {**os.environ, "_ENTREPOT_COMPLETE": "complete_bash", "COMP_WORDS": "entrepot rep", "COMP_CWORD": "1"}
    result = subprocess.run([PROGRAM], capture_output=True, text=True, timeout=30, env=env, check=False)
    assert result.stdout.split() == ["repo"]


def test_repositories(entrepot: Client) -> None:
    """Goal: create, list, show, delete. Method: one life of a private repository."""
    made = entrepot("repo", "create", "acme/life", "--private").stdout
    # As this process was called: a line to paste must work where the program is not on the PATH.
    assert f"Push to it: {sys.argv[0]} push acme/life/debian/bookworm" in made
    assert "repository_exists" in entrepot("repo", "create", "acme/life", rc=5).stderr
    assert "acme/life" in entrepot("repo", "list").stdout
    shown = entrepot.json("repo", "show", "acme/life")[0]
    assert (shown["name"], shown["private"], shown["files"]) == ("acme/life", True, 0)
    assert "private" in entrepot("repo", "show", "acme/life").stdout
    entrepot("repo", "delete", "acme/life", rc=1)  # nobody answers the question
    entrepot("repo", "delete", "acme/life", "--yes")
    assert "repository_unknown" in entrepot("repo", "show", "acme/life", rc=1).stderr
    entrepot("repo", "create", "acme", rc=2)


def test_quotas(entrepot: Client, tmp_path: Path) -> None:
    """Goal: set, show and clear either quota; what is used is drawn; a push over it ends with its sentence.

    Method: one repository of an owner of its own, a quota below the next package.
    """
    repository = entrepot.repository("bounded/prod")
    assert "none" in entrepot("repo", "quota", repository).stdout
    first = write_deb(tmp_path, "first")
    entrepot("push", f"{repository}/debian/bookworm", first)
    entrepot("repo", "quota", repository, str(2 * first.stat().st_size))
    shown = entrepot("repo", "show", repository).stdout
    assert "[##########..........] 50 % of" in shown
    entrepot("owner", "quota", "bounded", "1KB")
    assert "the owner's: 1000 B" in entrepot("repo", "show", repository).stdout
    assert entrepot.json("owner", "show", "bounded")[0]["quota_bytes"] == 1000
    refused = entrepot("push", f"{repository}/debian/bookworm", write_deb(tmp_path, "next"), rc=1)
    assert "owner bounded may hold 1000 bytes" in refused.output
    assert "entrepot owner quota bounded SIZE" in refused.output
    entrepot("yank", repository, "first*")
    assert "counted until `entrepot gc`" in entrepot("owner", "show", "bounded").stdout
    assert "bounded" in entrepot("owner", "list").stdout
    entrepot("owner", "quota", "bounded", "none")
    entrepot("push", f"{repository}/debian/bookworm", tmp_path / "next_1.0-1_amd64.deb")
    for text in ("20 potatoes", "", "-1", "1KiBs", "\N{KELVIN SIGN}B"):
        assert entrepot("repo", "quota", repository, "--", text, rc=2).stdout == ""
    assert "not_found" in entrepot("owner", "quota", "nobody-here", "1GB", rc=1).stderr
    entrepot("owner", "show", "a/b", rc=2)


def test_the_program_names_itself_as_it_can_be_called(monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: a line to paste works. Method: a folder of the PATH, another, one with a blank, and python -m."""
    monkeypatch.setenv("PATH", "/usr/bin:/opt/x/bin")
    for path, words in {
        "/opt/x/bin/entrepot": "entrepot",
        "/srv/venv/bin/entrepot": "/srv/venv/bin/entrepot",
        ".venv/bin/entrepot": ".venv/bin/entrepot",
        "/my own/entrepot": "'/my own/entrepot'",
        "/lib/entrepot/__main__.py": f"{sys.executable} -m entrepot",
    }.items():
        monkeypatch.setattr(sys, "argv", [path])
        assert frame.program() == words


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1024**2 - 1, "1.0 MiB"), (3 * 1024**3 // 2, "1.5 GiB"),
     (10**12, "931.3 GiB"), (-2048, "-2.0 KiB"), (0.4, "0 B"), (1024**6, "1.0 EiB"), (5000 * 1024**6, "5000.0 EiB")],
)  # fmt: skip
def test_sizes_as_they_are_shown(size_bytes: float, text: str) -> None:
    """Goal: binary units that are never rounded up to 1024 of one. Method: the borders."""
    assert size_text(size_bytes) == text


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [("20GB", 20_000_000_000), ("512MiB", 512 << 20), ("1.5 TB", 1_500_000_000_000), ("1000", 1000), ("1kib", 1024),
     ("0", 0), ("2.25K", 2250), ("0.0000001GB", 100), ("7B", 7)],
)  # fmt: skip
def test_sizes(text: str, size_bytes: int) -> None:
    """Goal: decimal and binary units, exactly. Method: one of each."""
    assert frame.bytes_of(text) == size_bytes


def test_tokens(entrepot: Client) -> None:
    """Goal: a token is on standard output alone, works, and ends at once when it is revoked; none is made for a
    misspelt repository. Method: its life.
    """
    repository = entrepot.repository("acme/tok")
    made = entrepot(
        "token", "create", "ci", "--role", "read", "--repo", repository, "--expires", "90d", "--owner", "acme"
    )
    text = made.stdout.strip()
    assert len(text) == 48
    assert text not in made.stderr
    row = next(row for row in entrepot.json("token", "list") if row["name"] == "ci")
    assert (row["role"], row["repositories"], row["expires_at"] - row["created_at"]) == (
        "read",
        [repository],
        90 * 86_400,
    )
    entrepot("token", "create", "wide", "--owner", "acme")
    listed = {words[2]: words[4:] for words in map(str.split, entrepot("token", "list").stdout.splitlines())}
    assert listed["ci"][0] == repository
    assert listed["wide"][:3] == ["all", "of", "acme"]
    assert listed["admin"][:2] == ["all", "never"]
    assert text not in entrepot("token", "list").output
    entrepot("repo", "show", repository, env={"ENTREPOT_TOKEN": text})
    entrepot("token", "revoke", str(row["id"]))
    assert "token_revoked" in entrepot("repo", "show", repository, rc=3, env={"ENTREPOT_TOKEN": text}).stderr
    before = entrepot("token", "list").stdout
    refused = entrepot("token", "create", "x", "--repo", repository, "--repo", "acme/tokk", rc=1)
    assert "There is no repository acme/tokk" in refused.stderr
    assert entrepot("token", "list").stdout == before
    entrepot("token", "create", "x", "--expires", "soon", rc=2)
    assert "expired" in entrepot("token", "create", "x", "--expires", "0", rc=2).stderr


def test_distributions(entrepot: Client, tmp_path: Path) -> None:
    """Goal: a distribution added to the running server takes packages at once. Method: add, list, push."""
    entrepot("distro", "add", "debian/forky-next")
    entrepot("distro", "add", "acmeos/1", "--like", "el/9")
    assert entrepot.json("distro", "list", "acmeos/1")[0]["type"] == "rpm"
    assert "debian/forky-next" in entrepot("distro", "list", "debian/").stdout
    assert entrepot.json("distro", "list", "forky-next")[0]["type"] == "deb"
    entrepot("distro", "add", "debian/forky-next", rc=5)
    entrepot.repository("acme/distro")
    entrepot("push", "acme/distro/debian/forky-next", write_deb(tmp_path, "hello"))


def files(entrepot: Client, repository: str) -> int:
    """How many files a repository has."""
    return int(entrepot.json("repo", "show", repository)[0]["files"])


def test_yank_and_its_way_back(entrepot: Client, tmp_path: Path) -> None:
    """Goal: by pattern over all distributions, by name and version in one; unyank until gc; true bytes.

    Method: two packages in two distributions; what each step prints and what the server has.
    """
    repository = entrepot.repository("acme/yank")
    one, two = write_deb(tmp_path, "one"), write_deb(tmp_path, "two")
    entrepot("push", repository, "debian/bookworm,debian/trixie", one, two)
    assert len(entrepot("yank", repository, "*", "--dry-run").stdout.splitlines()) == 4
    assert files(entrepot, repository) == 4
    assert len(entrepot("yank", f"{repository}/debian/trixie", "one", "1.0-1").stdout.splitlines()) == 1
    assert len(entrepot.json("yank", repository, "two_*")) == 2
    assert files(entrepot, repository) == 1
    entrepot("unyank", repository, "two_*", "--dry-run")
    entrepot("unyank", f"{repository}/debian/bookworm", two.name)
    assert files(entrepot, repository) == 2
    # `one` is still listed in bookworm and `two` is back there: nothing to free yet.
    before = entrepot.json("gc", "--dry-run")[0]["size_bytes"]
    entrepot("yank", repository, "two*")
    assert entrepot.json("gc", "--dry-run")[0]["size_bytes"] == before + two.stat().st_size
    # Twice is as good as once: the first answer may have been lost.
    assert entrepot("yank", repository, "two*").stdout.splitlines()[0].startswith("already yanked  debian/")
    assert entrepot("unyank", repository, "one*", rc=0).stdout.startswith("brought back")
    assert entrepot("unyank", repository, "one*").stdout.startswith("already listed")
    entrepot("gc")
    assert "not_found" in entrepot("unyank", repository, "two*", rc=1).stderr
    assert "not_found" in entrepot("yank", repository, "nothing", rc=1).stderr


def test_the_longest_names_can_be_yanked(entrepot: Client, tmp_path: Path) -> None:
    """Goal: what can be pushed can be yanked. Method: a file name of 255 characters and a package name of 128, by each,
    and by a pattern.
    """
    repository = entrepot.repository("acme/long")
    name, version = "d" * 128, "1." + "0" * 112 + "-1"
    deb = write_deb(tmp_path, name, version=version)
    assert len(deb.name) == 255
    entrepot("push", f"{repository}/debian/bookworm", deb)
    for words in ((deb.name,), (f"{deb.name[:-4]}[.]deb",), (name, version)):
        assert deb.name in entrepot("yank", repository, *words).stdout
        assert deb.name in entrepot("unyank", repository, *words).stdout
    assert files(entrepot, repository) == 1


def test_settings(entrepot: Client, tmp_path: Path) -> None:
    """Goal: the settings in force, without secrets, from the server, from files, and the client's own. Method: each."""
    assert f'listen = "127.0.0.1:{entrepot.server.port}"' in entrepot("config").stdout
    assert entrepot.json("config")[0]["signing"]["default_algorithm"] == "ed25519"
    (tmp_path / "x.toml").write_text('[server]\nlisten = "127.0.0.1:7"\n')
    assert entrepot.json("config", "--offline", "--config", tmp_path / "x.toml")[0]["server"]["listen"] == "127.0.0.1:7"
    (tmp_path / "x.toml").write_text("[server]\nlistn = 1\n")
    assert "server.listn" in entrepot("config", "--offline", "--config", tmp_path / "x.toml", rc=2).stderr
    shown = entrepot("config", "--client").stdout
    assert "ENTREPOT_URL" in shown
    assert entrepot.server.admin_token not in shown


def test_health(entrepot: Client) -> None:
    """Goal: 0 for a well node, 4 for none, no token needed; --live and --upload ask that alone. Method: each."""
    shown = entrepot("health", env={"ENTREPOT_TOKEN": ""}).stdout
    assert "uploads   ok" in shown
    assert str(entrepot.server.data) in shown
    assert entrepot.json("health")[0]["uploads"] == ""
    assert entrepot("health", "--live").stdout == "live      ok\n"
    assert entrepot.json("health", "--upload") == [{"uploads": ""}]
    entrepot("health", "--live", "--admin-url", "http://127.0.0.1:1", rc=4)


def test_the_data_folder_gives_the_token(entrepot: Client) -> None:
    """Goal: on the server's own machine --data is enough; without a token every place for one is named. Method: no
    ENTREPOT_TOKEN; the token's file is private.
    """
    none = {"ENTREPOT_TOKEN": ""}
    missing = entrepot("repo", "list", rc=3, env=none).stderr
    assert "token_missing" in missing
    for place in ("ENTREPOT_TOKEN", "--token-file", "client.toml", "DIR/admin-token"):
        assert place in missing
    entrepot("repo", "list", "--data", entrepot.server.data, env=none)
    assert stat.S_IMODE((entrepot.server.data / "admin-token").stat().st_mode) == 0o600


def test_a_terminal_gets_bars(entrepot: Client, tmp_path: Path) -> None:
    """Goal: bars are drawn on a terminal, and the cursor comes back. Method: run it under script(1)."""
    repository = entrepot.repository("acme/bars")
    deb = write_deb(tmp_path, "hello")
    command = f"{PROGRAM} push {repository}/debian/bookworm {deb}"
    env = without_proxies({**entrepot.env(), "TERM": "xterm", "COLUMNS": "120"})
    result = subprocess.run(
        ["script", "-qec", command, "/dev/null"], capture_output=True, text=True, timeout=60, env=env, check=True
    )
    assert "1 file" in result.stdout
    assert "published" in result.stdout
    assert result.stdout.rindex("\x1b[?25h") > result.stdout.rindex("\x1b[?25l")


def test_log_and_whoami(entrepot: Client, tmp_path: Path) -> None:
    """Goal: who pushed what, from where, with which digest is one line; a token is told what it is. Method: a push with
    a token of its own.
    """
    name = entrepot.repository("told/main")
    made = entrepot.json("token", "create", "ci", "--role", "push", "--owner", "told")[0]
    package, token = write_deb(tmp_path, "told", "1"), made["token"]
    ci = {"ENTREPOT_TOKEN": token}
    entrepot("push", f"{name}/debian/bookworm", package, env=ci)
    (line,) = [row for row in entrepot("log", name).stdout.splitlines() if "file.add" in row]
    assert [f"ci#{made['id']}", "127.0.0.1", "file.add", name] == line.split()[2:6]
    assert "sha256:" in line
    assert len(entrepot.json("log", "--lines", "3")) == 3
    shown = entrepot("whoami", env=ci).stdout
    assert "push" in shown
    assert "all of told" in shown
    assert token not in shown
    entrepot("log", env=ci, rc=3)
