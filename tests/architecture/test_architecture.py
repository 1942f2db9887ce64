"""The source text obeys the project's rules. A failure says what to do; rules.py says why."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterable
from functools import cache, partial
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from prometheus_client import Counter, Gauge, Histogram

from entrepot.observe import metrics
from entrepot.settings import Settings
from tests.architecture.rules import (
    ALL_CODE_RULES,
    SOURCE_RULES,
    Finding,
    Module,
    Rule,
    format_siblings,
    workplace_paths,
)

ROOT = Path(__file__).parents[2]
FORMATS = frozenset(path.parent.name for path in (ROOT / "src/entrepot/formats").glob("*/__init__.py"))


@cache
def _modules(*folders: str) -> list[Module]:
    """Every Python file below the folders, read and parsed once for all rules."""
    paths = sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))
    return [Module(path.relative_to(ROOT).as_posix(), path.read_text()) for path in paths]


def _require_none(findings: Iterable[Finding]) -> None:
    lines = [str(finding) for finding in findings]
    assert not lines, "\n" + "\n".join(lines)


@pytest.mark.parametrize("rule", SOURCE_RULES, ids=lambda rule: rule.__name__)
def test_source(rule: Rule) -> None:
    """Goal: the bans hold in the product. Method: one rule over every module of src/."""
    modules = _modules("src")
    assert len(modules) > 15
    _require_none(finding for module in modules for finding in rule(module))


@pytest.mark.parametrize("rule", ALL_CODE_RULES, ids=lambda rule: rule.__name__)
def test_source_and_tests(rule: Rule) -> None:
    """Goal: no monsters and no loose ends. Method: one rule over every module of src/, tests/ and bench/."""
    _require_none(finding for module in _modules("src", "tests", "bench") for finding in rule(module))


def test_formats_do_not_know_each_other() -> None:
    """Goal: a format is one folder that can be removed. Method: the imports below formats/."""
    rule = partial(format_siblings, packages=FORMATS)
    _require_none(finding for module in _modules("src/entrepot/formats") for finding in rule(module))


def _tracked() -> list[Path]:
    """The files of the repository; of the folder when it is no repository (a source archive)."""
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listing.returncode == 0:
        return [ROOT / name for name in listing.stdout.decode().split("\0") if name]
    hidden = (path for path in ROOT.rglob("*") if path.is_file())
    return [path for path in hidden if not {".venv", "data"} & set(path.relative_to(ROOT).parts)]


def test_no_path_of_one_machine() -> None:
    """Goal: a stranger's clone works. Method: the text of every tracked file."""
    found: list[Finding] = []
    for path in _tracked():
        try:
            found += workplace_paths(path.relative_to(ROOT).as_posix(), path.read_text())
        except (UnicodeDecodeError, FileNotFoundError):  # not text, or deleted and not yet committed
            continue
    _require_none(found)


def test_locks_name_no_address_and_pin_every_digest() -> None:
    """Goal: whoever installs decides where packages come from, and gets these bytes. Method: the lines of each lock."""
    locks = sorted((ROOT / "requirements").glob("*.txt"))
    assert [path.name for path in locks] == ["build.txt", "client.txt", "dev.txt", "server.txt"]
    for path in locks:
        text = path.read_text()
        assert "://" not in text, f"{path.name} names an address: write it with scripts/lock.sh"
        assert "\n--" not in f"\n{text}", f"{path.name} has an option: write it with scripts/lock.sh"
        pins = [
            block for block in text.replace("\\\n", " ").splitlines() if block and not block.lstrip().startswith("#")
        ]
        assert pins
        for pin in pins:
            assert "==" in pin, f"{path.name}: {pin[:60]} has no version: write it with scripts/lock.sh"
            assert "--hash=sha256:" in pin, f"{path.name}: {pin[:60]} has no digest: write it with scripts/lock.sh"


def test_locks_agree() -> None:
    """Goal: what is tested is what is deployed. Method: each pin of the smaller locks is in the larger one."""

    def pins(name: str) -> set[str]:
        lines = (ROOT / "requirements" / name).read_text().splitlines()
        return {line.split()[0] for line in lines if "==" in line.split("#")[0]}

    assert pins("client.txt") < pins("server.txt") < pins("dev.txt")
    assert pins("build.txt") < pins("dev.txt")


def _pins(name: str) -> set[str]:
    """The distributions that a lock names, as the registry spells them."""
    lines = (ROOT / "requirements" / name).read_text().splitlines()
    return {line.partition("==")[0] for line in lines if "==" in line.partition("#")[0]}


def test_client_works_without_the_server_packages() -> None:
    """Goal: a build machine installs `entrepot push` alone. Method: import every module of the client in an interpreter
    where what only the server's lock names cannot be imported."""
    server_only = _pins("server.txt") - _pins("client.txt")
    blocked = sorted(
        package
        for package, owners in packages_distributions().items()
        if {re.sub(r"[-_.]+", "-", owner).lower() for owner in owners} & server_only
    )
    assert {"sqlalchemy", "starlette", "createrepo_c"} <= set(blocked)
    program = (
        f"import sys; sys.modules.update(dict.fromkeys({blocked!r})); import pkgutil, importlib, entrepot.client as c\n"
        "for m in pkgutil.walk_packages(c.__path__, 'entrepot.client.'): importlib.import_module(m.name)"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert run.returncode == 0, f"the client needs a package of the server:\n{run.stderr}"


def _attributes(skip: str, owner: str | None = None) -> set[str]:
    """Every name that the product reads of some object, or of ``owner`` (``owner.name``); ``skip``: the module that
    defines them.
    """
    return {
        node.attr
        for module in _modules("src")
        if module.room != skip
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Attribute)
        and (owner is None or (isinstance(node.value, ast.Name) and node.value.id == owner))
    }


def test_every_setting_has_a_reader() -> None:
    """Goal: no setting without effect, which an operator would trust. Method: each name is read outside its struct."""
    read = _attributes("settings/concerns.py")
    kinds = [field.annotation for field in Settings.model_fields.values()]
    names = {name for kind in kinds if kind is not None for name in kind.model_fields}
    assert {"publication_wait_s", "spare_keys"} <= names
    # What a property of the struct makes of them is what the rest reads.
    names -= {"listen", "admin_listen", "agent_listen", "public_url"}
    assert names <= read, f"nobody reads {sorted(names - read)}: wire them, or remove them"


def test_every_metric_is_written() -> None:
    """Goal: no metric stays 0 for ever, with an alert that never fires. Method: each name is used somewhere."""
    names = {name for name, value in vars(metrics).items() if isinstance(value, Counter | Gauge | Histogram)}
    assert len(names) > 15
    used = _attributes("observe/metrics.py", "metrics")
    assert names <= used, f"nobody fills {sorted(names - used)}: fill them, or remove them"
