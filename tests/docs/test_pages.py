"""The pages are true: links lead somewhere, commands exist, generated parts are current, nothing names a workplace."""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import typer

from entrepot.cli.main import app
from entrepot.observe import metrics
from entrepot.settings.sources import Settings

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "bench").glob("*.md")])
# Typed as anything: typer brings a click of its own, which has no public name.
COMMAND: Any = typer.main.get_command(app)

_LINK = re.compile(r"(?<!!)\[[^\]]*\]\((?P<target>[^)\s]+)\)")
_FENCE = re.compile(r"^```[^\n]*\n(?P<body>.*?)^```", re.MULTILINE | re.DOTALL)
# A code that a command gives by itself: a keyword's value or default, or the first argument of `Unsent`.
_CODE = re.compile(r'(?:\bcode(?:: str)? ?= ?|\bUnsent\()"(\w+)"')
_INLINE = re.compile(r"`([^`\n]+)`")
# What a reader of the pages must never meet: folders and hosts of whoever wrote them.
_WORKPLACE = re.compile(
    r"/[w]ork/|/home/(?!\w+/\.)\w+|/root/|\bshared/|file://|\.internal\b|\.corp\b"
    r"|\b(?:10\.\d{1,3}|192\.168|172\.(?:1[6-9]|2\d|3[01]))\.\d{1,3}\.\d{1,3}\b"
)
_HOSTS_ALLOWED = re.compile(
    r"https?://(?:THE_TOKEN:none@)?(?:(?:[\w-]+\.)*example\.(?:org|com)|127\.0\.0\.1|localhost|www\.rfc-editor\.org|maven\.apache\.org"
    r"|(?:[\w-]+\.)*acme\.org|HOST|LISTEN|packages_backend|…)"
)


def page(path: Path) -> str:
    """The name of a page in a test's id."""
    return str(path.relative_to(ROOT))


def anchors(text: str) -> set[str]:
    """Anchors of a page as forges make them: headings, lower case, no punctuation, blanks as hyphens; and explicit
    ones.
    """
    plain = _FENCE.sub("", text)
    heads = re.findall(r"^#+ +(.+?) *$", plain, re.MULTILINE)
    made = {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}
    return made | set(re.findall(r'<a id="([^"]+)">', text))


def shown_commands(text: str) -> Iterator[list[str]]:
    """The words of every `entrepot …` command in fences, indented blocks and inline code."""
    lines: list[str] = []
    for match in _FENCE.finditer(text):
        lines += match["body"].replace("\\\n", " ").splitlines()
    rest = _FENCE.sub("", text)
    lines += [line for line in rest.splitlines() if line.startswith("    ")]
    lines += _INLINE.findall(rest)
    for line in lines:
        line = line.replace("sudo -u entrepot ", "")  # the user's name, not the program's
        # A command may stand behind a path, variables or `sudo`; what is piped or redirected after it is not its own.
        found = re.search(r"(?:^|[\s/=(])entrepot (?P<words>[a-z-].*)$", line.strip())
        # Not a command: the program's name inside another one's arguments (git clone, cd, useradd).
        if found is None or re.match(r"(?:git|cd|mkdir|python|useradd|User=)", line.strip()):
            continue
        lexer = shlex.shlex(found["words"], posix=True, punctuation_chars="|>;&")
        lexer.whitespace_split = True
        words = []
        for word in lexer:
            if set(word) & set("|>;&"):
                break
            words.append(word.rstrip(")"))
        if words:
            yield words


def check_command(words: list[str]) -> str | None:
    """What is wrong with a command: a name that does not exist, an option, or an option without its value."""
    command = COMMAND
    rest = list(words)
    while hasattr(command, "commands"):
        if not rest or rest[0] == "--help":
            return None  # `entrepot token`: the group itself is meant
        name = rest.pop(0)
        if name not in command.commands:
            return f"there is no `{name}`"
        command = command.commands[name]
    options = {
        flag: option
        for option in command.params
        if option.param_type_name == "option"
        for flag in (*option.opts, *option.secondary_opts)
    }
    arguments = 0
    while rest:
        word = rest.pop(0)
        if word == "--help":
            continue
        if not word.startswith("-") or word == "-":
            arguments += 1
            continue
        flag, equals, _ = word.partition("=")
        option = options.get(flag)
        if option is None:
            return f"there is no option {flag}"
        if not option.is_flag and not equals:
            if not rest:
                return f"{flag} has no value"
            rest.pop(0)
    most = sum(
        10**6 if each.nargs == -1 else each.nargs for each in command.params if each.param_type_name == "argument"
    )
    return None if arguments <= most else f"{arguments} arguments where at most {most} go"


@pytest.mark.parametrize("path", PAGES, ids=page)
def test_links_resolve(path: Path) -> None:
    """Goal: no reader meets a dead link. Method: every relative link names a file, and its anchor a heading."""
    text = path.read_text()
    dead = []
    for match in _LINK.finditer(_FENCE.sub("", text)):
        target, _, anchor = unquote(match["target"]).partition("#")
        if "://" in target:
            continue
        found = path if not target else (path.parent / target).resolve()
        if not found.exists() or (anchor and found.suffix == ".md" and anchor not in anchors(found.read_text())):
            dead.append(match["target"])
    assert dead == []


@pytest.mark.parametrize("path", PAGES, ids=page)
def test_commands_exist(path: Path) -> None:
    """Goal: what a page shows can be typed. Method: each command, option and number of arguments is looked up in the
    program itself.
    """
    wrong = [(words, found) for words in shown_commands(path.read_text()) if (found := check_command(words))]
    assert wrong == []


def test_commands_are_found_and_judged() -> None:
    """Goal: the check above cannot pass by finding nothing. Method: it finds the pages' commands, and refuses made-up
    ones.
    """
    shown = [words for path in PAGES for words in shown_commands(path.read_text())]
    assert {"push", "yank", "unyank", "gc", "repo", "token", "distro", "config", "serve"} <= {each[0] for each in shown}
    text = "```sh\nX=1 .venv/bin/entrepot token create --role read | cat\n```\n`entrepot pusch a b`, `entrepot repo`"
    assert list(shown_commands(text)) == [["token", "create", "--role", "read"], ["pusch", "a", "b"], ["repo"]]
    assert check_command(["token", "create", "--role", "read", "ci"]) is None
    assert check_command(["token", "create", "--repository", "a/b", "ci"]) == "there is no option --repository"
    assert check_command(["pusch", "a", "b"]) == "there is no `pusch`"
    assert check_command(["token", "revoke", "7", "8"]) == "2 arguments where at most 1 go"
    assert check_command(["token", "create", "ci", "--role"]) == "--role has no value"


def test_generated_parts_are_current() -> None:
    """Goal: settings, error codes, routes and metrics in the pages are those of the program. Method: the generator
    would write nothing; it also fails for an error code without a remedy.
    """
    run = subprocess.run(
        [sys.executable, ROOT / "scripts" / "generate-docs.py", "--check"], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr


def test_every_code_of_the_command_line_has_a_row() -> None:
    """Goal: who reads a code in brackets finds what to do. Method: the codes in the sources of client and commands, all
    anchors of the page. The server's and the back-up's own are in the generated tables.

    Seen to fail with a row taken out.
    """
    sources = [path for part in ("client", "cli") for path in (ROOT / "src" / "entrepot" / part).rglob("*.py")]
    found = {code for path in sources for code in _CODE.findall(path.read_text())}
    assert {"usage", "unreachable", "held", "not_a_file"} <= found
    assert sorted(found - anchors((ROOT / "docs" / "troubleshoot.md").read_text())) == []


@pytest.mark.parametrize("path", [each for each in PAGES if each.name != "ARCHITECTURE.md"], ids=page)
def test_settings_and_metrics_exist(path: Path) -> None:
    """Goal: prose names no setting or metric that is gone. Method: every `concern.name`, `[concern]` and metric that a
    page names is looked up; ARCHITECTURE.md is left out, whose `disk.fs` are modules.
    """
    text = path.read_text()
    known = {
        f"{concern}.{name}" for concern, field in Settings.model_fields.items() for name in _names(field.annotation)
    }
    concerns = "|".join([*Settings.model_fields, "disk", "audit"])
    sections = re.findall(rf"`\[({concerns})\]`", text)
    settings = re.findall(rf"`((?:{concerns})\.[a-z]\w+)\b", text)
    series = {sample for family in metrics.registry.collect() for sample in _series(family.name, family.type)}
    assert [name for name in sections if name not in Settings.model_fields] == []
    assert [name for name in settings if name not in known] == []
    assert [name for name in re.findall(r"\bentrepot_[a-z_]+\b", text) if name not in series] == []


def _names(kind: Any) -> list[str]:
    return list(kind.model_fields)


def _series(name: str, kind: str) -> list[str]:
    endings = {"counter": ("_total",), "histogram": ("", "_bucket", "_sum", "_count")}
    return [name + ending for ending in endings.get(kind, ("",))]


@pytest.mark.parametrize("path", PAGES, ids=page)
def test_no_workplace(path: Path) -> None:
    """Goal: the pages speak of the project alone. Method: no folder or address of a workplace, no host but examples and
    standards.
    """
    text = path.read_text()
    hosts = re.findall(r"https?://[^\s)`'\"<>|,]+", text)
    assert [match[0] for match in _WORKPLACE.finditer(text)] == []
    assert [host for host in hosts if not _HOSTS_ALLOWED.match(host)] == []
