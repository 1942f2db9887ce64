"""Where the server's address and the token come from."""

import os
from pathlib import Path

import pytest

from entrepot.client.config import Given, resolve
from entrepot.client.errors import UsageError

ONE, TWO, THREE = "1" * 48, "2" * 48, "3" * 48


def environment(home: Path, **more: str) -> dict[str, str]:
    """An environment with this home and no data folder of a server."""
    return {"HOME": str(home), "ENTREPOT_SERVER_DATA_FOLDER": str(home / "none"), **more}


def client_toml(home: Path, text: str, mode: int = 0o600) -> Path:
    """Write ~/.config/entrepot/client.toml."""
    path = home / ".config/entrepot/client.toml"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    path.chmod(mode)
    return path


def test_the_command_line_wins_over_the_environment_over_the_file(tmp_path: Path) -> None:
    """Goal: the documented order. Method: all three, then one less each time."""
    client_toml(tmp_path, f'url = "https://file"\ntoken = "{THREE}"\n')
    token_file = tmp_path / "token"
    token_file.write_text(ONE + "\n")
    env = environment(tmp_path, ENTREPOT_URL="https://env", ENTREPOT_TOKEN=TWO)
    found = resolve(Given(url="https://line/", token_file=token_file), env)
    assert (found.url, found.token) == ("https://line", ONE)
    found = resolve(Given(), env)
    assert (found.url, found.token) == ("https://env", TWO)
    found = resolve(Given(), environment(tmp_path))
    assert (found.url, found.token, found.warnings) == ("https://file", THREE, ())


def test_the_admin_token_of_this_machine(tmp_path: Path) -> None:
    """Goal: on the server itself no token need be given; it never goes to another machine. Method: a data folder."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data/admin-token").write_text(ONE)
    env = environment(tmp_path)
    assert resolve(Given(data_folder=tmp_path / "data"), env).token == ONE
    assert resolve(Given(), {**env, "ENTREPOT_SERVER_DATA_FOLDER": str(tmp_path / "data")}).token == ONE
    away = {
        **env,
        "ENTREPOT_URL": "https://elsewhere.example.org",
        "ENTREPOT_SERVER_DATA_FOLDER": str(tmp_path / "data"),
    }
    assert resolve(Given(), away).token is None
    with pytest.raises(UsageError, match="on this machine only"):
        resolve(Given(data_folder=tmp_path / "data"), away)


def test_tokens_do_not_leak(tmp_path: Path) -> None:
    """Goal: a token is never shown. Method: a malformed one, one in a URL, one in a readable file, and the repr."""
    with pytest.raises(UsageError) as caught:
        resolve(Given(), environment(tmp_path, ENTREPOT_TOKEN="secret\nsecret"))
    assert "secret" not in str(caught.value)
    with pytest.raises(UsageError, match="Do not put a token into the URL"):
        resolve(Given(url=f"https://{ONE}:@host"), environment(tmp_path))
    client_toml(tmp_path, f'token = "{ONE}"', 0o644)
    found = resolve(Given(), environment(tmp_path))
    assert "chmod 600" in found.warnings[0]
    assert ONE not in repr(found)


def test_a_token_file_that_others_can_read_is_named(tmp_path: Path) -> None:
    """Goal: each file that gives a token is judged, and the command goes on. Method: the four places a file can be
    named in, each readable by others, then its user's alone; and a pipe, whose mode says nothing.

    Seen to fail with the modes not looked at.
    """
    file = tmp_path / "admin-token"
    file.write_text(ONE)
    local = environment(tmp_path, ENTREPOT_SERVER_DATA_FOLDER=str(tmp_path))
    home = tmp_path / "home"
    client_toml(home, f'token_file = "{file}"')
    given = [Given(token_file=file), Given(data_folder=tmp_path), Given()]
    for mode, count in ((0o644, 1), (0o620, 1), (0o600, 0), (0o400, 0)):
        file.chmod(mode)
        for each in given:
            found = resolve(each, local)
            assert (found.token, len(found.warnings)) == (ONE, count)
            assert all(f"chmod 600 {file}" in warning for warning in found.warnings)
        assert len(resolve(Given(), environment(home)).warnings) == count
    reading, writing = os.pipe()
    os.fchmod(reading, 0o644)
    os.write(writing, ONE.encode())
    os.close(writing)
    assert resolve(Given(token_file=Path(f"/dev/fd/{reading}")), environment(tmp_path)).warnings == ()
    os.close(reading)


@pytest.mark.parametrize("text", ["ulr = 'x'", "url = [", "parallel = 0", "retry_for_s = 'x'"])
def test_a_wrong_file_is_refused(tmp_path: Path, text: str) -> None:
    """Goal: a mistake in client.toml is not passed over. Method: several mistakes."""
    client_toml(tmp_path, text)
    with pytest.raises(UsageError, match=r"client\.toml"):
        resolve(Given(), environment(tmp_path))


@pytest.mark.parametrize("url", ["ftp://x", "http://", "http://x:99999", "http://h/?q=1"])
def test_a_wrong_url_is_refused(tmp_path: Path, url: str) -> None:
    """Goal: exit code 2 before anything is asked. Method: URLs that cannot be a server's."""
    with pytest.raises(UsageError, match="URL"):
        resolve(Given(url=url), environment(tmp_path))


def test_a_missing_token_file_is_named(tmp_path: Path) -> None:
    """Goal: the sentence names the file. Method: one that is not there."""
    with pytest.raises(UsageError, match=os.path.basename("gone")):
        resolve(Given(token_file=tmp_path / "gone"), environment(tmp_path))
