"""The shared hooks of the tests: a skip is a failure in CI, and nowhere else."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HOOKS = Path(__file__).with_name("conftest.py")
ROOT = HOOKS.parent.parent

PROGRAM = """
import pytest

@pytest.fixture
def absent():
    pytest.skip("fixture has no gradle")

def test_passes(): pass
def test_skips(): pytest.skip("no gradle here")
def test_skips_in_fixture(absent): pass
@pytest.mark.skip(reason="by mark")
def test_skips_by_mark(): pass
@pytest.mark.xfail(strict=True)
def test_expected_failure(): assert False
"""


def _run(folder: Path, ci: str, *options: str) -> subprocess.CompletedProcess[str]:
    (folder / "conftest.py").write_text(HOOKS.read_text())
    (folder / "test_some.py").write_text(PROGRAM)
    (folder / "test_whole.py").write_text(
        "import pytest\npytest.importorskip('no_such_module_here')\ndef test(): pass\n"
    )
    (folder / "pytest.ini").write_text("[pytest]\n")
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST")}
    # No plugins but those that the hooks meet: loading the others takes longer than the tests.
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "xdist", *options]
    return subprocess.run(
        command,
        cwd=folder,
        env={**environment, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "CI": ci, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("options", [(), ("-n", "1")], ids=["alone", "workers"])
def test_skip_in_ci_is_a_failure(tmp_path: Path, options: tuple[str, ...]) -> None:
    """Goal: a client test that is passed over is seen. Method: skips of every kind, with CI set; with workers too."""
    single = _run(tmp_path, "true", *options, "test_some.py")
    assert single.returncode == 1
    assert "1 failed, 1 passed, 1 xfailed, 2 errors" in single.stdout
    assert "no gradle here" in single.stdout
    assert "install what the test needs" in single.stdout
    whole = _run(tmp_path, "true", *options, "test_whole.py")
    assert whole.returncode not in (0, 5)
    assert "1 error" in whole.stdout


def test_skip_elsewhere_is_a_skip(tmp_path: Path) -> None:
    """Goal: a developer without gradle can work. Method: the same tests without CI."""
    run = _run(tmp_path, "")
    assert run.returncode == 0
    assert "1 passed, 4 skipped, 1 xfailed" in run.stdout
