"""The project's own rules about its source text, as functions from one module to findings. test_rules.py shows each
one fail."""

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath

FUNCTION_LINES_MAX = 70
FILE_LINES_MAX = 500


@dataclass(frozen=True, slots=True)
class Finding:
    """One breach: where, and what to do about it."""

    path: str
    line: int
    remedy: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.remedy}"


@dataclass(frozen=True)
class Module:
    """One Python file; ``path`` is below the repository (``src/entrepot/disk/fs.py``)."""

    path: str
    source: str

    @cached_property
    def tree(self) -> ast.Module:
        """The parsed file."""
        return ast.parse(self.source, self.path)

    @cached_property
    def room(self) -> str:
        """Where it lies below the package: ``disk/fs.py``, or the whole path outside it."""
        return self.path.removeprefix("src/entrepot/")

    def lies_in(self, places: tuple[str, ...]) -> bool:
        """Whether one of the places (a folder or a file below the package) holds this module."""
        own = PurePosixPath(self.room)
        return any(own == PurePosixPath(place) or PurePosixPath(place) in own.parents for place in places)

    @cached_property
    def names(self) -> dict[str, str]:
        """What each imported name stands for: ``{"t": "time", "now": "time.monotonic"}``."""
        found: dict[str, str] = {}
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    root = alias.name if alias.asname else alias.name.partition(".")[0]
                    found[alias.asname or root] = root
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                for alias in node.names:
                    found[alias.asname or alias.name] = f"{node.module}.{alias.name}"
        return found

    @cached_property
    def roots(self) -> frozenset[str]:
        """The top-level packages that are imported; anything else that has a dotted name is a variable."""
        return frozenset(full.partition(".")[0] for full in self.names.values())

    def dotted(self, node: ast.expr) -> str | None:
        """The full name that an expression refers to (``os.path.join``), or None for anything but a name."""
        parts: list[str] = []
        while isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        if not isinstance(node, ast.Name):
            return None
        return ".".join([self.names.get(node.id, node.id), *reversed(parts)])

    def uses(self) -> Iterator[tuple[int, str]]:
        """Every full name that is imported or referred to, with its line."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield node.lineno, alias.name
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                for alias in node.names:
                    yield node.lineno, f"{node.module}.{alias.name}"
            elif isinstance(node, ast.Attribute) or (isinstance(node, ast.Name) and node.id in self.names):
                name = self.dotted(node)
                if name is not None and name.partition(".")[0] in self.roots:
                    yield node.lineno, name


Rule = Callable[[Module], Iterator[Finding]]


@dataclass(frozen=True, slots=True)
class Ban:
    """Names that only some places may use. A name covers what is below it: ``subprocess`` bans ``subprocess.run``."""

    names: tuple[str, ...]
    places: tuple[str, ...]
    remedy: str


def _below(parent: str, names: str) -> tuple[str, ...]:
    return tuple(f"{parent}.{name}" for name in names.split())


_OS_WRITES = _below(
    "os",
    "open fdopen write writev pwrite pwritev truncate ftruncate posix_fallocate fsync fdatasync sync link symlink "
    "unlink remove rename renames replace mkdir makedirs rmdir removedirs mkfifo mknod chmod fchmod chown fchown "
    "utime sendfile copy_file_range splice setxattr removexattr memfd_create",
)
_STARTS_PROCESS = _below(
    "os",
    "system popen fork forkpty posix_spawn posix_spawnp startfile execl execle execlp execlpe execv execve execvp "
    "execvpe spawnl spawnle spawnlp spawnlpe spawnv spawnve spawnvp spawnvpe",
)
_CLOCKS = _below(
    "time",
    "time time_ns monotonic monotonic_ns perf_counter perf_counter_ns process_time process_time_ns thread_time "
    "thread_time_ns clock_gettime clock_gettime_ns",
)

BANS = (
    Ban(
        ("tempfile",),
        ("client/programs.py",),
        "no named temporary file anywhere: reserve on the ledger, stage through disk.fs (O_TMPFILE leaks nothing)",
    ),
    Ban(
        ("shutil",),
        ("disk/fs.py", "client/programs.py"),
        "shutil makes file calls that the ledger and the fault sweep do not see: use disk.fs",
    ),
    Ban(
        (
            "subprocess",
            "multiprocessing",
            "pty",
            "concurrent.futures.ProcessPoolExecutor",
            "concurrent.futures.process",
            "asyncio.create_subprocess_exec",
            "asyncio.create_subprocess_shell",
            *_STARTS_PROCESS,
        ),
        ("children", "client/programs.py"),
        "processes are started by entrepot.children only: ChildPool.call gives a time limit, a memory cap and no leaks",
    ),
    Ban(
        (*_OS_WRITES, "io.FileIO", "io.open", "codecs.open", "gzip.open", "bz2.open", "lzma.open"),
        ("disk/fs.py", "disk/faults.py", "client/resume.py"),
        "file calls are made by disk.fs only, the one seam where faults are injected; add a function there and call it",
    ),
    Ban(
        ("os.statvfs", "os.fstatvfs", "psutil"),
        ("disk",),
        "free space is measured by disk only: a second opinion is how two uploads both see the same free bytes",
    ),
    Ban(
        ("sqlite3", "psycopg", "psycopg2", "asyncpg", "aiosqlite", "sqlalchemy", "alembic"),
        ("catalog",),
        "SQL is spoken by catalog only: add a function there; for the type of a transaction import it from catalog",
    ),
    Ban(
        ("boto3", "botocore", "aioboto3", "obstore", "s3fs"),
        ("storage",),
        "object stores are reached through storage only",
    ),
    Ban(
        ("logging", "structlog", "warnings.warn", "sys.stdout.write", "sys.stderr.write", "prometheus_client"),
        ("observe",),
        "logs and metrics go through observe only; cli prints through typer or rich",
    ),
    Ban(
        ("rich", "typer", "click"),
        ("cli", "client"),
        "only the command line talks to a terminal: return the value and let cli print it",
    ),
    Ban(
        (*_CLOCKS, *_below("datetime.datetime", "now utcnow today"), "datetime.date.today"),
        ("observe/clock.py", "children", "client/clock.py"),
        "the clock is read by observe.clock only, so that a test can set it back: take a Clock, or the time itself",
    ),
)

# Descriptors that are no file on a disk: a memory file for a C library that wants a path, and pipes that wake a loop.
EXCEPTIONS: dict[str, frozenset[str]] = {
    "formats/rpm": frozenset({"os.memfd_create", "os.write", "os.ftruncate"}),
}


def banned_names(module: Module) -> Iterator[Finding]:
    """Names used outside the place that owns them."""
    allowed = {name for place, names in EXCEPTIONS.items() if module.lies_in((place,)) for name in names}
    seen: set[tuple[int, str]] = set()
    for line, name in module.uses():
        for ban in BANS:
            hit = next((one for one in ban.names if name == one or name.startswith(one + ".")), None)
            if hit and hit not in allowed and not module.lies_in(ban.places) and (line, hit) not in seen:
                seen.add((line, hit))
                yield Finding(module.path, line, f"{hit}: {ban.remedy}")


_PATH_WRITES = frozenset(
    {"write_text", "write_bytes", "touch", "mkdir", "rmdir", "unlink", "symlink_to", "hardlink_to"}
)
# A rehearsal of keys runs gpgv and rpm on the machine of whoever asks, which want their keys in files.
_WRITERS = ("disk/fs.py", "disk/faults.py", "client/resume.py", "client/programs.py")
_WRITES_REMEDY = "writes a file; only disk.fs may (client/resume.py for the client): add a function there and call it"


def writing_open(module: Module) -> Iterator[Finding]:
    """``open`` with a mode that writes or cannot be told, and the writing methods of paths."""
    if module.lies_in(_WRITERS):
        return
    for node in ast.walk(module.tree):
        if not isinstance(node, ast.Call):
            continue
        method = node.func.attr if isinstance(node.func, ast.Attribute) else None
        is_open = isinstance(node.func, ast.Name) and node.func.id == "open"
        if is_open or method == "open":
            if _may_write(node, 1 if is_open else 0, certain=is_open):
                yield Finding(module.path, node.lineno, f"open {_WRITES_REMEDY}")
        elif method in _PATH_WRITES and not (module.dotted(node.func) or "").startswith(("fs.", "entrepot.disk.fs.")):
            yield Finding(module.path, node.lineno, f".{method}() {_WRITES_REMEDY}")


def _may_write(call: ast.Call, position: int, *, certain: bool) -> bool:
    """Whether the mode writes. ``certain``: it is the builtin, so a mode that is no literal counts as writing."""
    mode = next((keyword.value for keyword in call.keywords if keyword.arg == "mode"), None)
    if mode is None and len(call.args) > position:
        mode = call.args[position]
    if mode is None:
        return False
    if isinstance(mode, ast.Constant) and isinstance(mode.value, str):
        return len(mode.value) <= 4 and set(mode.value) <= set("rwaxbt+") and bool(set(mode.value) & set("wax+"))
    return certain


def prints(module: Module) -> Iterator[Finding]:
    """``print`` anywhere: the server logs, the command line prints through typer or rich."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
            yield Finding(module.path, node.lineno, "print: log through observe; in cli use typer.echo or rich")


_BRANCHES = (ast.If, ast.IfExp, ast.For, ast.While, ast.Try, ast.With, ast.Match, ast.comprehension)


def _is_generated_list(module: Module, node: ast.AST) -> bool:
    """Whether a function is a migration's list of statements.

    Alembic writes it from the schema, one call after another, and it is never edited once it has run somewhere:
    stages with names would only hide the order. A migration that decides anything is code like any other.
    """
    return module.lies_in(("catalog/migrations/versions",)) and not any(
        isinstance(each, _BRANCHES) for each in ast.walk(node)
    )


def long_functions(module: Module) -> Iterator[Finding]:
    """Functions above the bound, their docstring not counted: a contract is never shortened to fit."""
    for node in ast.walk(module.tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or _is_generated_list(module, node):
            continue
        lines = (node.end_lineno or node.lineno) - node.lineno + 1
        first = node.body[0]
        if ast.get_docstring(node, clean=False) is not None:
            lines -= (first.end_lineno or first.lineno) - first.lineno + 1
        if lines > FUNCTION_LINES_MAX:
            limit = f"{node.name} has {lines} lines, at most {FUNCTION_LINES_MAX}"
            what = f"{limit}: cut it into stages that each have a name"
            yield Finding(module.path, node.lineno, what)


def long_files(module: Module) -> Iterator[Finding]:
    """Files above the bound."""
    lines = module.source.count("\n")
    if lines > FILE_LINES_MAX:
        what = f"{lines} lines, at most {FILE_LINES_MAX}: move one concern to a module of its own"
        yield Finding(module.path, FILE_LINES_MAX, what)


FORMAT_NAMES = frozenset(
    {
        "debian",
        "deb",
        "ddeb",
        "udeb",
        "dsc",
        "rpm",
        "srpm",
        "maven",
        "java",
        "jar",
        "war",
        "aar",
        "pom",
        "pypi",
        "whl",
        "alpine",
        "apk",
        "npm",
        "gem",
    }
)
"""Names, types and extensions that only their format should know."""


def format_comparisons(module: Module) -> Iterator[Finding]:
    """A comparison with a format's name outside formats/: the start of the switch that every peer has fifteen of."""
    if module.lies_in(("formats",)):
        return
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Compare):
            operands = [node.left, *node.comparators]
        elif isinstance(node, ast.MatchValue):
            operands = [node.value]
        else:
            continue
        for operand in operands:
            members = operand.elts if isinstance(operand, ast.Tuple | ast.Set | ast.List) else [operand]
            for member in members:
                if isinstance(member, ast.Constant) and member.value in FORMAT_NAMES:
                    what = f"compares with {member.value!r}: ask the Format (add a method to the protocol if none fits)"
                    yield Finding(module.path, node.lineno if isinstance(node, ast.Compare) else operand.lineno, what)


def format_tables(module: Module) -> Iterator[Finding]:
    """A table outside formats/ of formats, types or extensions: a switch in another dress.

    The client has its own: it installs without the server, formats and all.
    """
    if module.lies_in(("formats", "client")):
        return
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Dict):
            members = [*node.keys, *node.values]
        elif isinstance(node, ast.Tuple | ast.Set | ast.List):
            members = [*node.elts]
        else:
            continue
        for member in members:
            value = member.value if isinstance(member, ast.Constant) else None
            if isinstance(value, str) and value.removeprefix(".") in FORMAT_NAMES:
                what = f"a table with {value!r}: ask the Format (add an answer to the protocol if none fits)"
                yield Finding(module.path, node.lineno, what)
                break


SECRET_NAMES = frozenset(
    {"token_text", "secret", "password", "passphrase", "credential", "path_token", "admin_token", "authorization"}
)
"""What holds a secret wherever it is called so."""
_TOKEN_MODULES = ("web/auth.py", "catalog/tokens.py")
_TOKEN_NAMES = SECRET_NAMES | {"text", "texts", "wanted", "hash", "digest", "user"}
_COMPARED = (ast.Eq, ast.NotEq, ast.In, ast.NotIn, ast.Lt, ast.LtE, ast.Gt, ast.GtE)
_COMPARING = frozenset({"startswith", "endswith", "find", "index", "count", "removeprefix"})


def secret_comparisons(module: Module) -> Iterator[Finding]:
    """A secret compared byte by byte: the time that takes tells how much of a guess was right.

    ``hmac.compare_digest`` and looking up a digest (in a dictionary, or in SQL by ``table.c.hash``) are what is left.
    """
    names = _TOKEN_NAMES if module.lies_in(_TOKEN_MODULES) else SECRET_NAMES
    what = "a secret is compared: use hmac.compare_digest, or look its digest up"
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Compare) and any(isinstance(each, _COMPARED) for each in node.ops):
            operands = (node.left, *node.comparators)
            if any(_is_secret(each, names) for each in operands) and not any(_is_empty(each) for each in operands):
                yield Finding(module.path, node.lineno, what)
        called = node.func if isinstance(node, ast.Call) else None
        if isinstance(called, ast.Attribute) and called.attr in _COMPARING and _is_secret(called.value, SECRET_NAMES):
            yield Finding(module.path, called.lineno, what)


def _is_secret(node: ast.expr, names: frozenset[str]) -> bool:
    if isinstance(node, ast.Name):
        return node.id in names
    if not isinstance(node, ast.Attribute) or node.attr not in names:
        return False
    return not (isinstance(node.value, ast.Attribute) and node.value.attr == "c")  # a column: the index compares


def _is_empty(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value in ("", b"")


_MARKER = re.compile(r"\b(?:TO" + r"DO|FIX" + r"ME|XX" + r"X)\b")


def unfinished(module: Module) -> Iterator[Finding]:
    """Markers of unfinished work."""
    for number, line in enumerate(module.source.splitlines(), 1):
        if _MARKER.search(line):
            yield Finding(module.path, number, "a marker of unfinished work: finish it, or leave it out and file it")


def missing_docstrings(module: Module) -> Iterator[Finding]:
    """Modules, public classes and public functions without a docstring."""
    if ast.get_docstring(module.tree) is None:
        yield Finding(module.path, 1, "the module has no docstring: say in one line what it is for")
    for node in module.tree.body:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) or node.name.startswith("_"):
            continue
        if ast.get_docstring(node) is None and not _is_overload(node):
            what = f"{node.name} has no docstring: say what it does, its units, and each error it raises"
            yield Finding(module.path, node.lineno, what)


def _is_overload(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> bool:
    return any("overload" in ast.unparse(decorator) for decorator in node.decorator_list)


def format_siblings(module: Module, packages: frozenset[str]) -> Iterator[Finding]:
    """One format importing another. ``packages``: the names of the folders below formats/."""
    parts = PurePosixPath(module.room).parts
    if len(parts) < 3 or parts[0] != "formats":
        return
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            imported = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            imported = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in imported:
            below = name.removeprefix("entrepot.formats.").partition(".")[0]
            if name.startswith("entrepot.formats.") and below in packages and below != parts[1]:
                what = f"formats/{parts[1]} imports formats/{below}: move what both need to streams or model"
                yield Finding(module.path, node.lineno, what)


_WORKPLACE = re.compile(r"(?<![\w.])/wo" + r"rk/|\.\./sha" + r"red\b")


def workplace_paths(path: str, text: str) -> Iterator[Finding]:
    """Paths of the machine that the project was written on; for any tracked text file."""
    for number, line in enumerate(text.splitlines(), 1):
        if _WORKPLACE.search(line):
            yield Finding(path, number, "a path that exists on one machine only: make it relative, or a setting")


SOURCE_RULES: tuple[Rule, ...] = (
    banned_names,
    writing_open,
    prints,
    format_comparisons,
    format_tables,
    missing_docstrings,
    secret_comparisons,
)
"""For src/ only; tests may write files, start servers and read clocks."""

ALL_CODE_RULES: tuple[Rule, ...] = (long_functions, long_files, unfinished)
"""For src/ and tests/."""
