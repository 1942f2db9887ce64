"""The client's own distribution: Python 3.9, under 15 MB, nothing of the server, and it pushes."""

import os
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.test_install import SUITES
from tests.support.deb import write_deb
from tests.support.machine import debian_tree, machine
from tests.support.process import run, without_proxies
from tests.support.server import ServerProcess

ROOT = Path(__file__).resolve().parents[2]
CLIENT = ROOT / "packaging" / "client"
INSTALLED_BYTES_MAX = 15_000_000
# The oldest Python that a build machine may have.
LEVEL = "3.9-"
ENV = {
    "ENTREPOT_SIGNING_DEFAULT_ALGORITHM": "ed25519",
    "ENTREPOT_SERVER_DRAIN_WAIT_S": "0",
    "ENTREPOT_UPLOAD_INSPECTION_PROCESSES": "1",
}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built as `make client` does."""
    folder = tmp_path_factory.mktemp("wheel")
    run([sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, CLIENT])
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and what its lock names, and nothing else."""
    folder = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder)]
    for what in (["--require-hashes", "--requirement", str(CLIENT / "requirements.txt")], [str(wheel)]):
        done = subprocess.run([*pip, *what], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server to push to; `admin/main` is there from the start."""
    with ServerProcess(tmp_path_factory.mktemp("server") / "data", env=ENV) as running:
        yield running


def packed() -> list[Path]:
    """The sources that the distribution holds."""
    tables = tomllib.loads((CLIENT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    places = [(CLIENT / each).resolve() for each in tables["force-include"]]
    return sorted(
        file
        for place in places
        for file in (place.rglob("*.py") if place.is_dir() else [place])
        if file.suffix == ".py"
    )


def level(*sources: Path, commands: bool = False) -> subprocess.CompletedProcess[str]:
    """Whether Python of :data:`LEVEL` has all that sources use; of ``commands``, types are looked at by typer."""
    vermin = Path(sys.executable).with_name("vermin")
    more = ["--eval-annotations", "--feature", "union-types"] if commands else []
    args = [str(vermin), f"-t={LEVEL}", "--violations", "--no-tips", *more, *map(str, sources)]
    return subprocess.run(args, capture_output=True, text=True, check=False)


def test_the_language_level() -> None:
    """Goal: old build machines can run it. Method: vermin over all that is packed."""
    sources = packed()
    assert len(sources) > 40
    commands = [each for each in sources if each.parent.name == "cli"]
    for chosen, typed in ((commands, True), ([each for each in sources if each not in commands], False)):
        done = level(*chosen, commands=typed)
        assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    "text",
    [
        "from enum import StrEnum\n",
        "def f(x):\n    match x:\n        case 1:\n            return 2\n",
        "from dataclasses import dataclass\n@dataclass(slots=True)\nclass A:\n    x: int\n",
        "zip([1], [2], strict=True)\n",
        "import tomllib\n",
        "isinstance(1, int | float)\n",
        "from typing import Annotated\ndef f(x: Annotated[str | None, 1]) -> None: ...\n",
    ],
)
def test_the_check_of_the_level_notices(tmp_path: Path, text: str) -> None:
    """Goal: the test above can fail. Method: one thing at a time that Python 3.9 lacks."""
    (tmp_path / "newer.py").write_text(text)
    done = level(tmp_path / "newer.py", commands=True)
    assert done.returncode != 0
    assert "3.1" in done.stdout


def program(installed: Path, *words: str | Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run it with nothing but Python's own library beside it."""
    given = {"PYTHONPATH": str(installed), "PATH": os.environ["PATH"], "HOME": str(installed), "LC_ALL": "C.UTF-8"}
    args = [sys.executable, "-S", "-m", "entrepot", *words]
    return subprocess.run(
        args, env=without_proxies({**given, **(env or {})}), capture_output=True, text=True, check=False, timeout=60
    )


def test_it_holds_the_client_and_no_more(wheel: Path, installed: Path) -> None:
    """Goal: small, and without the server. Method: its files; what cannot be imported; bytes with bytecode."""
    names = {name.split("/")[1] for name in zipfile.ZipFile(wheel).namelist() if name.startswith("entrepot/")}
    assert names == {"__init__.py", "__main__.py", "py.typed", "cli", "client", "model"}
    size_bytes = sum(file.stat().st_size for file in installed.rglob("*") if file.is_file())
    assert any(installed.rglob("*.pyc"))
    assert size_bytes < INSTALLED_BYTES_MAX, f"{size_bytes} bytes"
    served = program(installed, "serve")
    assert (served.returncode, "entrepot[server]" in served.stderr) == (2, True)


def test_every_command_explains_itself(installed: Path) -> None:
    """Goal: nothing that a command imports was left out. Method: --help of each, and each module that is packed."""
    listed = program(installed, "--help")
    assert listed.returncode == 0, listed.stderr
    modules = [
        ".".join(file.relative_to(ROOT / "src").with_suffix("").parts).removesuffix(".__init__") for file in packed()
    ]
    drawing = ("entrepot.cli.topview", "entrepot.__main__")
    code = "\n".join(f"import {name}" for name in modules if name not in drawing)
    env = {"PYTHONPATH": str(installed), "PATH": os.environ["PATH"]}
    done = subprocess.run([sys.executable, "-S", "-c", code], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for words in (["push"], ["key", "import"], ["token", "create"], ["top"], ["yank"]):
        assert program(installed, *words, "--help").stdout.startswith("Usage: "), words


def test_it_pushes(installed: Path, server: ServerProcess, tmp_path: Path) -> None:
    """Goal: what a pipeline does. Method: push a folder, twice; list the tokens; draw without what draws."""
    write_deb(tmp_path, "hello")
    env = {"ENTREPOT_URL": server.url, "ENTREPOT_TOKEN": server.admin_token}
    for word in ("published", "there already"):
        done = program(installed, "push", "admin/main/debian/bookworm", tmp_path, env=env)
        assert done.returncode == 0, done.stderr
        assert word in done.stdout
    assert "admin" in program(installed, "token", "list", env=env).stdout
    refused = program(installed, "push", "admin/nowhere/debian/bookworm", tmp_path, env=env)
    assert refused.returncode != 0
    drawn = program(installed, "top", "--once", env=env)
    assert (drawn.returncode, "entrepot-client[progress]" in drawn.stderr) == (2, True)


if "bullseye" in SUITES:

    @pytest.mark.clients
    def test_python_3_9_itself(wheel: Path, server: ServerProcess, tmp_path: Path) -> None:
        """Goal: Debian 11's Python 3.9 runs it. Method: fetch what pip takes for it, install it in a tree, push; ask
        one that is not there, since the library that repeats requests is an older one.
        """
        (tmp_path / "wheels").mkdir()
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--python-version", "3.9", "--only-binary=:all:"]
        # pip looks at its own version, not at the one asked for, to see what else it needs.
        run([*pip, "--dest", tmp_path / "wheels", wheel, "tomli", "exceptiongroup"], timeout_s=300)
        write_deb(tmp_path / "wheels", "hello", "2.0")
        with machine(debian_tree("bullseye"), tmp_path / "machine") as system:
            system.sh("apt-get update -qq && apt-get install -y -qq python3-venv", timeout_s=600)
            system.sh("python3 -m venv /opt/entrepot && mkdir /opt/wheels")
            for file in (tmp_path / "wheels").iterdir():
                (system.root / "opt/wheels" / file.name).write_bytes(file.read_bytes())
            system.sh("/opt/entrepot/bin/pip install -q --no-index --find-links /opt/wheels entrepot-client")
            env = {"ENTREPOT_URL": server.url, "ENTREPOT_TOKEN": server.admin_token}
            assert "3.9" in system.sh("/opt/entrepot/bin/python --version").stdout
            push = "/opt/entrepot/bin/entrepot push admin/main/debian/bookworm /opt/wheels/hello_2.0_amd64.deb"
            assert "published" in system.sh(push, env=env).stdout
            nobody = system.sh(f"{push} --retry-for 3s", env={**env, "ENTREPOT_URL": "http://127.0.0.1:9"}, check=False)
            assert nobody.rc == 4
            assert "Traceback" not in nobody.output
