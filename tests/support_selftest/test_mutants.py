"""The list of guards that `make mutate` takes away follows the code."""

import importlib.util
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture(scope="module")
def mutate() -> ModuleType:
    """scripts/mutate.py as a module."""
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        spec = importlib.util.spec_from_file_location("mutate", ROOT / "scripts" / "mutate.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules["mutate"] = module
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(ROOT / "scripts"))
    return module


def test_every_guard_is_found(mutate: ModuleType) -> None:
    """Goal: no mutant is passed over because the code moved on. Method: each text is there once, each name is unique,
    each test's file exists, and what is excused exists.
    """
    source = ROOT / "src/entrepot"
    for mutant in mutate.MUTANTS:
        for file, old, _ in mutant.edits:
            assert (source / file).read_text().count(old) == 1, (
                f"{mutant.name}: scripts/chosen.py does not follow {file}"
            )
    found = list(mutate.mutants.guards(source))
    names = Counter(each.name for each in (*mutate.MUTANTS, *found))
    assert max(names.values()) == 1
    assert set(mutate.EXCUSED) <= set(names)
    for each in (*mutate.MUTANTS, *found):
        for test in each.tests:
            assert (ROOT / test.partition("::")[0]).exists(), f"{each.name}: {test}"


def test_each_shape_is_taken_away(mutate: ModuleType) -> None:
    """Goal: a mutant of a found guard differs from the code in nothing but the guard. Method: one of each shape."""
    source = """
def work(self):
    with self._lock:
        self.n += 1
    try:
        fs.fsync(fd)
    finally:
        self.room.release()
"""
    expected = {
        "lock": "self.n += 1\n    __import__('time').sleep(0.002)",
        "sync": "try:\n        pass\n    finally:",
        "finally": "fs.fsync(fd)\n    self.room.release()",
        "release": "finally:\n        pass",
    }
    tree = mutate.mutants.ast.parse(source)
    kinds = [(node.lineno, kind) for _, node, kind in mutate.mutants._found(tree)]
    assert sorted(kind for _, kind in kinds) == sorted(expected)
    for line, kind in kinds:
        guard = mutate.mutants.Guard(kind, "work.py", kind, line, ())
        assert expected[kind] in mutate.mutants.without(source, guard)
