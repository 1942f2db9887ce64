"""Set-up scripts: valid POSIX sh, nothing that is put in means anything to a shell, and a cut-off one does nothing."""

import subprocess
from pathlib import Path

import pytest

from entrepot.formats.protocol import Format, InstallInput
from entrepot.formats.registry import formats
from entrepot.formats.shell import quoted, script
from tests.support.process import run

SCRIPTS = [(fmt, name) for fmt in formats().values() for name in fmt.installs if name.endswith(".sh")]
HOSTILE = "'; touch pwned; echo \"$(touch pwned)`touch pwned`\\\n#\n"


def request(*, any_: bool = False, token: str | None = None, url: str = "https://packages.example.org") -> InstallInput:
    """For acme/tools."""
    return InstallInput(f"{url}/acme/tools", f"{url}/install/repositories/acme/tools", "acme", "tools", token, any=any_)


def test_both_families_have_a_script() -> None:
    """Goal: the tests below test something."""
    assert {name for _, name in SCRIPTS} == {"script.deb.sh", "script.rpm.sh"}


@pytest.mark.parametrize(("fmt", "name"), SCRIPTS, ids=[name for _, name in SCRIPTS])
@pytest.mark.parametrize("any_", [False, True])
def test_scripts_are_posix_sh(fmt: Format, name: str, any_: bool, tmp_path: Path) -> None:
    """Goal: dash, busybox and bash read them, and shellcheck finds nothing. Method: the real ones."""
    file = tmp_path / name
    file.write_text(fmt.install(name, request(any_=any_, token="0" * 48)).text)
    for shell in (["dash"], ["busybox", "sh"], ["bash", "--posix"]):
        run([*shell, "-n", file])
    # What the common part leaves to the other: functions that one client needs, variables that it reads.
    run(["shellcheck", "--shell", "sh", "--severity", "style", "--exclude", "SC2034,SC2329,SC2317", file])


@pytest.mark.parametrize("text", [HOSTILE, "a'b", "''", "\\", "$HOME", "", "-n", "%s"])
def test_quoting(text: str, tmp_path: Path) -> None:
    """Goal: any text is one word of sh, exactly itself. Method: dash prints it back, and nothing else happens."""
    done = subprocess.run(
        ["dash", "-c", f'value={quoted(text)}\nprintf %s "$value"'], cwd=tmp_path, capture_output=True, check=True
    )
    assert done.stdout.decode() == text
    assert list(tmp_path.iterdir()) == []


def test_hostile_values_stay_values(tmp_path: Path) -> None:
    """Goal: a name, an address or a title cannot end its quotes or its comment line. Method: all hostile, run for real.
    Seen to fail with the quotes, and with the comment's line ends, left as they come.
    """
    hostile = InstallInput(HOSTILE, HOSTILE, HOSTILE, HOSTILE, HOSTILE, any=True)
    made = script(HOSTILE, hostile, client="apt", any_name=HOSTILE, body='main() { printf %s "$url"; }')
    done = subprocess.run(["dash", "-s"], input=made.text.encode(), cwd=tmp_path, capture_output=True, check=True)
    assert done.stdout.decode() == HOSTILE
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("fmt", "name"), SCRIPTS, ids=[name for _, name in SCRIPTS])
def test_a_script_that_arrives_cut_off_does_nothing(fmt: Format, name: str, tmp_path: Path) -> None:
    """Goal: `curl | sh` over a line that breaks runs nothing. Method: cut it at many places; each command that it could
    run is a file that tells of itself.
    """
    lines = fmt.install(name, request()).text.splitlines(keepends=True)
    (tmp_path / "bin").mkdir()
    for command in ("id", "mktemp", "curl", "apt-get", "dnf", "rm", "mkdir", "cat", "mv", "rpm", "sed"):
        file = tmp_path / "bin" / command
        file.write_text(f"#!/bin/dash\n: > '{tmp_path}/ran'\n")
        file.chmod(0o755)
    for end in range(0, len(lines), 7):
        cut = "".join(lines[:end]) + lines[end][: len(lines[end]) // 2]
        subprocess.run(
            ["/bin/dash", "-s"],
            input=cut.encode(),
            env={"PATH": str(tmp_path / "bin")},
            capture_output=True,
            check=False,
        )
    assert not (tmp_path / "ran").exists()
    whole = "".join(lines).encode()
    subprocess.run(
        ["/bin/dash", "-s"], input=whole, env={"PATH": str(tmp_path / "bin")}, capture_output=True, check=False
    )
    assert (tmp_path / "ran").exists()  # the trap is one


def test_a_token_stands_only_where_the_machine_keeps_it() -> None:
    """Goal: sources that everybody may read hold no token where apt has auth.conf.d."""
    fmt = formats()["debian"]
    given = InstallInput("https://h/acme/tools", "https://h/i", "acme", "tools", "f" * 48, "debian/bookworm")
    assert "f" * 48 in fmt.install("config_file.list", given).text
    kept = InstallInput(
        "https://h/acme/tools", "https://h/i", "acme", "tools", "f" * 48, "debian/bookworm", options={"auth": "conf"}
    )
    assert "f" * 48 not in fmt.install("config_file.list", kept).text
    assert "f" * 48 not in fmt.install("config_file.sources", kept).text
    assert fmt.install("apt_auth_conf", kept).text == f"machine h/acme/tools/ login {'f' * 48} password x\n"
