"""Every guard of the commit path that can be found by its shape, and how it is taken away.

Four shapes, in the places that `TESTS` names: a sync whose wait is skipped (`fs.fsync(…)`), something held that is not
given back (`….release()`), a lock that is not taken (`with self._lock:`; its section is slowed down, so that others
get between), and what must happen on an error too (`finally:`, which then happens only when all went well).
"""

import ast
import copy
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

LOCKS = ("lock", "mutex", "changed", "condition", "collecting")
SYNCS = ("fsync", "fdatasync", "syncfs")
PAUSE = "__import__('time').sleep(0.002)"

SWEEP = "tests/fault/test_sweep.py::test_every_call_fails[all-unnamed]"
# Beginning of a guard's name → the tests that must notice, the quickest first; the first match counts.
TESTS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("disk/fs", ("tests/disk/test_fs.py", "tests/storage/test_faults.py")),
    ("disk/ledger", ("tests/disk/test_ledger.py", "tests/storage/test_faults.py", "tests/storage/test_folder.py")),
    ("disk/", ("tests/disk/test_watch.py", "tests/fault/test_zero_bytes.py")),
    ("storage/group_sync", ("tests/storage/test_group_sync.py", "tests/storage/test_folder.py")),
    ("storage/probe", ("tests/storage/test_start.py",)),
    ("storage/folder:FolderStore._prepare", ("tests/storage/test_start.py",)),
    ("storage/", ("tests/storage/test_folder.py", "tests/storage/test_faults.py", "tests/storage/test_power_cut.py")),
    ("intake/room", ("tests/intake/test_room.py", SWEEP)),
    ("intake/admit", ("tests/intake/test_stages.py", SWEEP)),
    ("intake/", ("tests/intake/test_flow.py", SWEEP, "tests/fault/test_races.py")),
    ("publish/lag", ("tests/publish/test_shared.py", "tests/publish/test_lag.py")),
    ("publish/scope", ("tests/publish/test_fencing.py", "tests/publish", SWEEP)),
    ("publish/", ("tests/publish/test_shared.py", "tests/publish", SWEEP)),
    ("catalog/lane", ("tests/catalog/test_lane.py", "tests/catalog/test_concurrency.py", SWEEP)),
    ("upkeep/backup", ("tests/upkeep/test_backup.py", "tests/upkeep/test_backup_power_cut.py")),
    ("upkeep/", ("tests/upkeep/test_strays.py", "tests/upkeep/test_leaks.py")),
    ("node/restore", ("tests/node/test_restore.py", "tests/node/test_restore_power_cut.py")),
    ("node/upkeep", ("tests/node/test_upkeep.py", "tests/fault/test_races.py")),
)
SKIPPED = ("disk/faults",)


@dataclass(frozen=True, slots=True)
class Guard:
    """One guard: ``file`` below src/entrepot; ``name`` stays the same while its function does."""

    name: str
    file: str
    kind: str
    line: int
    tests: tuple[str, ...]


def tests_of(name: str) -> tuple[str, ...]:
    """The tests of a guard, or of a file without its suffix; none: it is not looked at."""
    return next((tests for place, tests in TESTS if name.startswith(place)), ())


def guards(root: Path) -> Iterator[Guard]:
    """Every guard below ``root`` (src/entrepot), in order."""
    for path in sorted(root.rglob("*.py")):
        file = path.relative_to(root).as_posix()
        place = file.removesuffix(".py")
        if not tests_of(place) or place in SKIPPED:
            continue
        seen: Counter[str] = Counter()
        for owner, node, kind in _found(ast.parse(path.read_text())):
            key = f"{place}:{owner}:{kind}"
            seen[key] += 1
            yield Guard(f"{key}{seen[key]}", file, kind, node.lineno, tests_of(key))


def without(text: str, guard: Guard) -> str:
    """The file's text with the guard taken away."""
    tree = ast.parse(text)
    changed = _Remover(guard).visit(copy.deepcopy(tree))
    return ast.unparse(ast.fix_missing_locations(changed)) + "\n"


def _found(tree: ast.Module) -> Iterator[tuple[str, ast.stmt, str]]:
    """(function, statement, kind) of every guard."""

    def walk(node: ast.AST, owner: str) -> Iterator[tuple[str, ast.stmt, str]]:
        for child in ast.iter_child_nodes(node):
            inner = owner
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                inner = f"{owner}.{child.name}".lstrip(".")
            if isinstance(child, ast.stmt) and (kind := _kind(child)):
                yield owner, child, kind
            yield from walk(child, inner)

    yield from walk(tree, "")


def _kind(node: ast.stmt) -> str:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and isinstance(node.value.func, ast.Attribute):
        called = node.value.func
        if called.attr in SYNCS and isinstance(called.value, ast.Name) and called.value.id == "fs":
            return "sync"
        if called.attr == "release":
            return "release"
    if isinstance(node, ast.With) and any(_is_lock(item.context_expr) for item in node.items):
        return "lock"
    if isinstance(node, ast.Try) and node.finalbody:
        return "finally"
    return ""


def _is_lock(node: ast.expr) -> bool:
    return isinstance(node, ast.Attribute) and node.attr.lstrip("_").endswith(LOCKS)


class _Remover(ast.NodeTransformer):
    """Takes one guard away."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard

    def visit(self, node: ast.AST) -> ast.AST | list[ast.stmt]:
        """The node without the guard, or as it was."""
        guard = self._guard
        if isinstance(node, ast.stmt) and node.lineno == guard.line and _kind(node) == guard.kind:
            return _removed(node, guard.kind)
        changed: ast.AST = self.generic_visit(node)
        return changed


def _removed(node: ast.stmt, kind: str) -> list[ast.stmt]:
    if kind in ("sync", "release"):
        return [ast.Pass()]
    if kind == "lock":
        assert isinstance(node, ast.With)
        pause = ast.parse(PAUSE).body[0]
        return [piece for statement in node.body for piece in (statement, pause)]
    assert isinstance(node, ast.Try)
    end = node.finalbody
    if not node.handlers:
        return [*node.body, *end]
    return [ast.Try(node.body, node.handlers, node.orelse, []), *end]
