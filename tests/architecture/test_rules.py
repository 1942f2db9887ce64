"""Each rule is seen to fail on a small offence, and to let its honest neighbour pass."""

import textwrap
from functools import partial

import pytest

from tests.architecture import rules
from tests.architecture.rules import Finding, Module, Rule


def _findings(rule: Rule, source: str, path: str = "src/entrepot/web/upload.py") -> list[Finding]:
    return list(rule(Module(path, textwrap.dedent(source))))


OFFENCES = [
    ("import tempfile", "tempfile"),
    ("from tempfile import NamedTemporaryFile as make", "tempfile"),
    ("import shutil as s\ns.rmtree('x')", "shutil"),
    ("import subprocess", "subprocess"),
    ("import os\nos.system('ls')", "os.system"),
    ("from os import popen", "os.popen"),
    ("import os as o\nif o.fork(): pass", "os.fork"),
    ("import multiprocessing.pool", "multiprocessing"),
    ("from concurrent.futures import ProcessPoolExecutor", "concurrent.futures.ProcessPoolExecutor"),
    ("import concurrent.futures as f\nf.ProcessPoolExecutor()", "concurrent.futures.ProcessPoolExecutor"),
    ("import asyncio\nasyncio.create_subprocess_exec", "asyncio.create_subprocess_exec"),
    ("import os\nfd = os.open('x', os.O_WRONLY)", "os.open"),
    ("from os import unlink as drop", "os.unlink"),
    ("import os\nos.replace('a', 'b')", "os.replace"),
    ("import io\nio.open('x')", "io.open"),
    ("import os\nos.statvfs('/')", "os.statvfs"),
    ("def f():\n    from sqlite3 import connect", "sqlite3"),
    ("import sqlalchemy as sa", "sqlalchemy"),
    ("import psycopg", "psycopg"),
    ("import obstore.store", "obstore"),
    ("import boto3", "boto3"),
    ("import logging\nlogging.getLogger()", "logging"),
    ("import structlog", "structlog"),
    ("import sys\nsys.stderr.write('x')", "sys.stderr.write"),
    ("import prometheus_client", "prometheus_client"),
    ("from rich.progress import Progress", "rich"),
    ("import time\ntime.time()", "time.time"),
    ("from time import monotonic as now", "time.monotonic"),
    ("import time\nclock = time.perf_counter_ns", "time.perf_counter_ns"),
    ("from datetime import UTC, datetime\ndatetime.now(UTC)", "datetime.datetime.now"),
    ("import datetime as dt\ndt.datetime.utcnow()", "datetime.datetime.utcnow"),
    ("from datetime import date\ndate.today()", "datetime.date.today"),
]


@pytest.mark.parametrize(("source", "name"), OFFENCES)
def test_banned_name_is_found(source: str, name: str) -> None:
    """Goal: no spelling of an import hides a banned name. Method: each name, in the spellings that Python has."""
    found = _findings(rules.banned_names, source)
    assert found, "not found"
    assert {finding.remedy.partition(": ")[0] for finding in found} == {name}


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("disk/fs.py", "import os, shutil\nos.open('x', 0)"),
        ("disk/volume.py", "import os\nos.statvfs('/')"),
        ("children/process.py", "import subprocess, time\ntime.monotonic()"),
        ("catalog/schema.py", "import sqlalchemy"),
        ("storage/object.py", "import obstore"),
        ("observe/log.py", "import logging, structlog"),
        ("observe/clock.py", "import time\ntime.time()"),
        ("cli/main.py", "import typer, rich"),
        ("client/resume.py", "import os\nos.replace('a', 'b')"),
        ("formats/rpm/header.py", "import os\nos.memfd_create('x')"),
        ("web/pages.py", "import os, time, datetime\nos.path.join('a')\ntime.sleep(1)\ndatetime.timedelta(1)"),
        ("web/pages.py", "class Clock:\n    def time(self): ...\nclock = Clock()\nclock.time()\nclock.now()"),
        ("web/pages.py", "from entrepot.disk import fs\nfs.open('x')"),
    ],
)
def test_name_is_allowed_in_its_place(path: str, source: str) -> None:
    """Goal: the owner of a name may use it, and a namesake is no offence. Method: one of each."""
    assert _findings(rules.banned_names, source, f"src/entrepot/{path}") == []


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("disk/ledger.py", "import os\nos.open('x', 0)"),
        ("cli/serve.py", "import logging"),
        ("observe/log.py", "import time\ntime.time()"),
        ("client/push.py", "import os\nos.replace('a', 'b')"),
        ("formats/debian/control.py", "import os\nos.memfd_create('x')"),
        ("diskette/fs.py", "import shutil"),
    ],
)
def test_allowance_ends_at_its_place(path: str, source: str) -> None:
    """Goal: a neighbour of an owner is not an owner. Method: names one module away."""
    assert len(_findings(rules.banned_names, source, f"src/entrepot/{path}")) == 1


@pytest.mark.parametrize(
    "source",
    [
        "open('x', 'w')",
        "open('x', mode='ab')",
        "open('x', 'r+b')",
        "open('x', mode)",
        "path.open('wb')",
        "path.open(mode='x')",
        "path.write_text('x')",
        "Path('x').write_bytes(b'')",
        "path.mkdir()",
        "(a / b).unlink()",
    ],
)
def test_writing_open_is_found(source: str) -> None:
    """Goal: no file is written past the seam. Method: each way to say so."""
    assert len(_findings(rules.writing_open, source)) == 1
    assert _findings(rules.writing_open, source, "src/entrepot/disk/fs.py") == []
    assert _findings(rules.writing_open, source, "src/entrepot/client/resume.py") == []
    assert len(_findings(rules.writing_open, source, "src/entrepot/client/push.py")) == 1


@pytest.mark.parametrize(
    "source",
    ["open('x')", "open('x', 'rb')", "path.open()", "path.open('rb')", "archive.open('member.txt')", "store.open(key)"],
)
def test_reading_open_passes(source: str) -> None:
    """Goal: reading is free. Method: each way to read, and other things called open."""
    assert _findings(rules.writing_open, source) == []


def test_calls_of_the_seam_pass() -> None:
    """Goal: calling disk.fs is the remedy, so it is no offence. Method: its namesakes of path methods."""
    assert _findings(rules.writing_open, "from entrepot.disk import fs\nfs.mkdir('x')\nfs.unlink('y')") == []


def test_print_is_found() -> None:
    """Goal: nothing goes to standard output unseen. Method: print, in cli too."""
    assert len(_findings(rules.prints, "print('x')", "src/entrepot/cli/main.py")) == 1
    assert _findings(rules.prints, "typer.echo('x')\nconsole.print('x')") == []


def test_long_function_is_found_without_its_docstring() -> None:
    """Goal: seventy lines of code are the most, a long contract is not. Method: just under, just over, with
    docstring."""

    def function(body_lines: int, doc_lines: int) -> str:
        doc = '    """Doc.\n' + "    More.\n" * (doc_lines - 2) + '    """\n' if doc_lines else ""
        return "async def f():\n" + doc + "    x = 1\n" * body_lines

    assert _findings(rules.long_functions, function(69, 0)) == []
    assert _findings(rules.long_functions, function(69, 60)) == []
    assert "f has 71 lines" in str(_findings(rules.long_functions, function(70, 60))[0])


def test_only_a_migrations_list_may_be_long() -> None:
    """Goal: the exemption covers generated statements and nothing else. Method: with a branch; in another folder."""
    migration = "src/entrepot/catalog/migrations/versions/r0009_x.py"
    statements = "def upgrade():\n" + "    op.add(1)\n" * 100
    assert _findings(rules.long_functions, statements, migration) == []
    assert len(_findings(rules.long_functions, statements)) == 1
    assert len(_findings(rules.long_functions, statements + "    if x:\n        y()\n", migration)) == 1


def test_long_file_is_found() -> None:
    """Goal: five hundred lines are the most. Method: at the bound and above."""
    assert _findings(rules.long_files, "x = 1\n" * 500) == []
    assert len(_findings(rules.long_files, "x = 1\n" * 501)) == 1


@pytest.mark.parametrize(
    "source",
    [
        "if format == 'deb': pass",
        "if 'rpm' != kind: pass",
        "x = kind in ('maven', 'other')",
        "match kind:\n    case 'debian':\n        pass",
        "match kind:\n    case 'deb' | 'x':\n        pass",
    ],
)
def test_format_switch_is_found(source: str) -> None:
    """Goal: the first `if format ==` does not land. Method: each way to compare."""
    assert len(_findings(rules.format_comparisons, source)) == 1
    assert _findings(rules.format_comparisons, source, "src/entrepot/formats/registry.py") == []


@pytest.mark.parametrize(
    "source",
    [
        "EXTENSIONS = {'rpm': 'rpm', 'jar': 'jar'}",
        "TYPES = {b: 'deb'}",
        "x = name.endswith(('.deb', '.other'))",
        "x = ['maven']",
        "x = {**more, 'dsc': 1}",
    ],
)
def test_format_table_is_found(source: str) -> None:
    """Goal: what a format knows stays in its folder. Method: each kind of table; and the two places that may."""
    assert len(_findings(rules.format_tables, source)) == 1
    assert _findings(rules.format_tables, source, "src/entrepot/formats/rpm/__init__.py") == []
    assert _findings(rules.format_tables, source, "src/entrepot/client/selection.py") == []


def test_unfinished_marker_is_found() -> None:
    """Goal: no loose end lands. Method: each marker, put together here so that this file passes its own rule."""
    for marker in ("TO" + "DO", "FIX" + "ME", "XX" + "X"):
        assert len(_findings(rules.unfinished, f"x = 1  # {marker}: later")) == 1
    assert _findings(rules.unfinished, "XXXL = 'TODOS'") == []


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ("x = 1", 1),
        ('"""Doc."""\ndef f(): ...', 1),
        ('"""Doc."""\nclass C: ...', 1),
        ('"""Doc."""\ndef _f(): ...\nclass C:\n    """Doc."""\n    def f(self): ...', 0),
        ('"""Doc."""\n@overload\ndef f(): ...', 0),
    ],
)
def test_missing_docstring_is_found(source: str, count: int) -> None:
    """Goal: every public name says what it is for. Method: with and without."""
    assert len(_findings(rules.missing_docstrings, source)) == count


def test_format_sibling_is_found() -> None:
    """Goal: formats stay apart, and share what lies beside them. Method: a sibling, itself, the protocol."""
    rule = partial(rules.format_siblings, packages=frozenset({"debian", "rpm"}))
    path = "src/entrepot/formats/rpm/header.py"
    assert len(_findings(rule, "from entrepot.formats.debian.control import parse", path)) == 1
    assert len(_findings(rule, "from entrepot.formats import debian", path)) == 1
    assert len(_findings(rule, "import entrepot.formats.debian", path)) == 1
    honest = "from entrepot.formats.rpm import tags\nfrom entrepot.formats.protocol import Format"
    assert _findings(rule, honest, path) == []
    assert _findings(rule, "import entrepot.formats.debian", "src/entrepot/formats/registry.py") == []


def test_workplace_path_is_found() -> None:
    """Goal: nothing refers to one machine. Method: both kinds of path, and honest neighbours."""
    offences = "see /wo" + "rk/main\nread ../sha" + "red/design.md\n"
    assert [finding.line for finding in rules.workplace_paths("docs/a.md", offences)] == [1, 2]
    assert list(rules.workplace_paths("docs/a.md", "/home/work/x and ~/network/y and shared/z")) == []


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("web/auth.py", "if text == known:\n    pass"),
        ("web/auth.py", "found = row.hash != wanted"),
        ("web/auth.py", "found = text in known"),
        ("catalog/tokens.py", "rows = [row for row in rows if row.hash == digest]"),
        ("web/pages.py", "ok = call.path_token == expected"),
        ("signing/seal.py", "ok = secret == other.secret"),
        ("cli/serve.py", "ok = password.startswith(guess)"),
    ],
)
def test_a_secret_is_never_compared_byte_by_byte(path: str, source: str) -> None:
    """Goal: no comparison whose time tells something about a secret. Method: each way to write one."""
    assert len(_findings(rules.secret_comparisons, source, f"src/entrepot/{path}")) == 1


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("catalog/tokens.py", "import hmac\nok = hmac.compare_digest(row.hash, wanted)"),
        ("catalog/tokens.py", "query = select(token).where(token.c.hash == bindparam('in_hash'))"),
        ("web/auth.py", "found = known.get(key)\nif text is None or not texts:\n    pass"),
        ("web/auth.py", "if scheme.lower() == b'bearer':\n    pass"),
        ("cli/token.py", "if password == '':\n    pass"),
        ("web/pages.py", "if text == 'x':\n    pass"),
    ],
)
def test_what_a_secret_may_be_asked(path: str, source: str) -> None:
    """Goal: whether there is one, and what its digest leads to. Method: what the code does."""
    assert _findings(rules.secret_comparisons, source, f"src/entrepot/{path}") == []
