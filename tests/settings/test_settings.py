"""Where settings come from, who wins, and what is refused."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from entrepot import settings
from entrepot.settings import CanarySettings, ServerSettings, Settings, SettingsError, effective, load

SECRET = "0123456789abcdef" * 4


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("ENTREPOT_")]:
        monkeypatch.delenv(name)


def test_every_setting_is_described() -> None:
    """Goal: no setting without a sentence that says what it does; `entrepot config` prints them."""
    for concern, field in Settings.model_fields.items():
        kind = field.annotation
        assert kind is not None
        assert kind.__doc__, concern
        for name, each in kind.model_fields.items():
            assert each.description, f"{concern}.{name}"
            assert each.description.endswith("."), f"{concern}.{name}"


def test_numbers_carry_a_unit() -> None:
    """Goal: nobody has to guess seconds or bytes. Method: every number's name has a unit, or counts a plural noun."""
    units = {"s", "bytes", "percent", "max", "min", "more", "threads", "processes", "keys"}
    for field in Settings.model_fields.values():
        assert field.annotation is not None
        for name, each in field.annotation.model_fields.items():
            if each.annotation in (int, float):
                assert units & set(name.split("_")), name


def test_defaults_are_valid_and_names_fit_the_environment() -> None:
    """Goal: a working set without file or environment. Concerns are single words, or variables would be ambiguous."""
    made = load()
    assert made.server.listen_address == ("127.0.0.1", 8420)
    assert made.server.admin_address == ("127.0.0.1", 8421)
    assert made.server.url == "http://127.0.0.1:8420"
    assert all("_" not in concern for concern in Settings.model_fields)


def test_command_line_beats_environment_beats_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: the order of sources, setting by setting, inside one concern. Method: three settings at three levels."""
    file = tmp_path / "x.toml"
    file.write_text(
        '[server]\nlisten = "f:1"\nworker_threads = 3\npublic_url = "http://file"\n[logs]\nlevel = "error"\n'
    )
    monkeypatch.setenv("ENTREPOT_SERVER_LISTEN", "e:2")
    monkeypatch.setenv("ENTREPOT_SERVER_PUBLIC_URL", "https://env/")
    made = load(file, {"server": {"listen": "c:3"}, "logs": {}})
    assert made.server.listen == "c:3"
    assert made.server.public_url == "https://env"
    assert made.server.worker_threads == 3
    assert made.logs.level == "error"


def test_the_file_in_the_data_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: DIR/entrepot.toml is read when DIR comes from the command line, and when it comes from the environment."""
    (tmp_path / "entrepot.toml").write_text("[upload]\nuploads_at_once_max = 7\n")
    assert load(command_line={"server": {"data_folder": tmp_path}}).upload.uploads_at_once_max == 7
    monkeypatch.setenv("ENTREPOT_SERVER_DATA_FOLDER", str(tmp_path))
    assert load().upload.uploads_at_once_max == 7


def test_environment_takes_lists_and_leaves_client_variables_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: lists as JSON; ENTREPOT_URL and ENTREPOT_TOKEN belong to the client commands and are no error."""
    monkeypatch.setenv("ENTREPOT_URL", "http://x")
    monkeypatch.setenv("ENTREPOT_TOKEN", "t")
    monkeypatch.setenv("ENTREPOT_SERVER_TRUSTED_PROXIES", '["10.1.2.3/8", "::1"]')
    assert load().server.trusted_proxies == ("10.0.0.0/8", "::1/128")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[server]\nlisten = 'nowhere'\n", "server.listen: write it as HOST:PORT"),
        ("[server]\nlisten = '::1:80'\n", "brackets"),
        ("[server]\nlisten = 'h:99999'\n", "server.listen"),
        ("[server]\nlistn = 'h:1'\n", "server.listn: there is no such setting"),
        ("[sever]\nlisten = 'h:1'\n", "sever: there is no such setting"),
        ("[server]\npublic_url = 'example.org'\n", "server.public_url: write it as https://"),
        ("[server]\npublic_url = 'https://user:pw@example.org'\n", "must not have a user"),
        ("[server]\ntrusted_proxies = ['all']\n", "server.trusted_proxies"),
        ("[upload]\nupload_bytes_max = 0\n", "upload.upload_bytes_max"),
        ("[signing]\ndefault_algorithm = 'dsa'\n", "signing.default_algorithm"),
        ("[publication]\nkeep_s = 100\n", "keep_s_min, keep_s and keep_hourly_s"),
        ("[server\n", "x.toml"),
        ("[[server]]\nlisten = 'h:1'\n", "server: it is a table"),
        ("server = 1\n", "server: it is a table"),
        pytest.param("a = " + "[" * 9000, "nested too deeply", id="deep"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, says: str) -> None:
    """Goal: a wrong file stops the start with one line that names the setting and what is wrong."""
    file = tmp_path / "x.toml"
    file.write_text(text)
    with pytest.raises(SettingsError, match=says.replace("[", r"\[")) as wrong:
        load(file, {"server": {"data_folder": tmp_path}})
    assert "\n" not in str(wrong.value)


def test_misspelt_environment_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: a typing error in the environment is an error too, not a setting without effect."""
    monkeypatch.setenv("ENTREPOT_SERVER_LISTN", "h:1")
    with pytest.raises(SettingsError, match=r"ENTREPOT_SERVER_LISTN: there is no setting server\.listn"):
        load()


def test_missing_file_is_an_error_only_when_asked_for(tmp_path: Path) -> None:
    """Goal: --config with a wrong path must not silently mean the defaults."""
    with pytest.raises(SettingsError, match="no such settings file"):
        load(tmp_path / "x.toml")
    assert load(command_line={"server": {"data_folder": tmp_path}}).server.data_folder == tmp_path


def test_secret_is_never_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: neither `entrepot config`, nor repr, nor an error message gives the secret away."""
    monkeypatch.setenv("ENTREPOT_SIGNING_SECRET", SECRET)
    made = load()
    assert made.signing.secret is not None
    assert made.signing.secret.get_secret_value() == SECRET
    shown = effective(made)
    assert shown["signing"]["secret"] == "[hidden]"
    assert SECRET not in repr(made) + str(shown)
    monkeypatch.setenv("ENTREPOT_SIGNING_SECRET", SECRET[:-1])
    with pytest.raises(SettingsError, match="64 hexadecimal digits") as wrong:
        load()
    assert SECRET[:-1] not in str(wrong.value)


def test_effective_has_every_setting_and_what_is_derived(tmp_path: Path) -> None:
    """Goal: the dump is complete, JSON-able, and shows derived values as they will be used."""
    shown = effective(load(command_line={"server": {"listen": "[::1]:9000", "data_folder": tmp_path}}))
    assert {concern: set(values) for concern, values in shown.items()} == {
        concern: set(field.annotation.model_fields)
        for concern, field in Settings.model_fields.items()
        if field.annotation is not None
    }
    assert shown["server"]["admin_listen"] == "127.0.0.1:9001"
    assert shown["server"]["public_url"] == "http://[::1]:9000"
    assert shown["server"]["data_folder"] == str(tmp_path)
    assert shown["signing"]["secret"] is None


def test_for_testing_ignores_the_environment_and_takes_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: a test's settings do not depend on who runs it; a misspelt change is an error."""
    monkeypatch.setenv("ENTREPOT_UPLOAD_UPLOADS_AT_ONCE_MAX", "3")
    made = Settings.for_testing(tmp_path, upload={"upload_bytes_max": 10})
    assert made.upload.uploads_at_once_max == 64
    assert made.upload.upload_bytes_max == 10
    assert made.server.data_folder == tmp_path
    assert made.server.listen_address[1] == 0
    with pytest.raises(TypeError, match="uplod"):
        Settings.for_testing(tmp_path, uplod={})
    with pytest.raises(ValidationError):
        Settings.for_testing(tmp_path, upload={"nonsense": 1})


def test_settings_cannot_be_changed() -> None:
    """Goal: what `entrepot config` prints stays true while the server runs."""
    made = load()
    with pytest.raises(ValidationError):
        made.server.listen = "h:1"


def test_importing_the_package_does_not_load_pydantic() -> None:
    """Goal: `entrepot --help` and a client without the server's dependencies pay nothing. Method: a fresh process."""
    code = "import sys, entrepot.settings; sys.exit('pydantic' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    with pytest.raises(AttributeError):
        _ = settings.Nonsense


@pytest.mark.parametrize(
    ("listen", "url"),
    [
        ("127.0.0.1:8420", "http://127.0.0.1:8420"),
        ("0.0.0.0:80", "http://127.0.0.1:80"),
        ("[::]:8420", "http://[::1]:8420"),
        ("packages.example.org:8420", "http://packages.example.org:8420"),
    ],
)
def test_where_the_canary_goes(listen: str, url: str) -> None:
    """Goal: by default the node's own port, on an address that can be connected to; what is set goes before."""
    server = ServerSettings(listen=listen, public_url="https://elsewhere")
    assert CanarySettings().url_for(server) == url
    assert CanarySettings(url="https://lb.example.org/").url_for(server) == "https://lb.example.org"
