"""Remembered digests."""

import os
from pathlib import Path

import pytest

from entrepot.client import resume
from entrepot.client.resume import FILE_NAME, Remembered

SHA = "ab" * 32


def test_a_digest_is_remembered_until_the_file_changes(tmp_path: Path) -> None:
    """Goal: another process finds it; a changed file is read again. Method: add, load anew, touch."""
    file = tmp_path / "a.deb"
    file.write_bytes(b"one")
    first = Remembered(tmp_path / "cache")
    first.add(str(file), file.stat(), SHA)
    # No close: a killed push closes nothing.
    again = Remembered(tmp_path / "cache")
    assert again.find(str(file), file.stat()) == SHA
    os.utime(file, ns=(1, 1))
    assert again.find(str(file), file.stat()) is None
    first.close()
    again.close()


def test_a_torn_line_costs_that_line_alone(tmp_path: Path) -> None:
    """Goal: a kill in the middle of a line harms neither the lines before nor after. Method: cut the file short."""
    file = tmp_path / "a.deb"
    file.write_bytes(b"one")
    first = Remembered(tmp_path)
    first.add("first", file.stat(), SHA)
    first.add("torn", file.stat(), SHA)
    first.close()
    path = tmp_path / FILE_NAME
    path.write_bytes(path.read_bytes()[:-9])
    second = Remembered(tmp_path)
    assert (second.find("first", file.stat()), second.find("torn", file.stat())) == (SHA, None)
    second.add("next", file.stat(), SHA)
    second.close()
    third = Remembered(tmp_path)
    assert (third.find("first", file.stat()), third.find("next", file.stat())) == (SHA, SHA)
    third.close()


def test_the_file_is_bounded_and_keeps_the_newest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: the cache cannot grow for ever. Method: a bound of 4,000 bytes and 100 entries."""
    monkeypatch.setattr(resume, "CACHE_BYTES_MAX", 4000)
    status = tmp_path.stat()
    for number in range(100):
        memory = Remembered(tmp_path)
        memory.add(f"file{number}", status, SHA)
        memory.close()
    assert (tmp_path / FILE_NAME).stat().st_size < 4200
    last = Remembered(tmp_path)
    assert last.find("file99", status) == SHA
    assert last.find("file0", status) is None
    last.close()


def test_without_a_place_to_write_nothing_fails(tmp_path: Path) -> None:
    """Goal: a full or missing home does not stop a push. Method: a folder that is a file."""
    (tmp_path / "file").write_bytes(b"")
    memory = Remembered(tmp_path / "file")
    memory.add("a", tmp_path.stat(), SHA)
    assert memory.find("a", tmp_path.stat()) == SHA
    memory.close()
