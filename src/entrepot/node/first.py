"""The first start: the administrator, the first token, the first repository; and what to do next, on one screen. Later
starts: a token for the administrator where none is left, or where one is asked for.
"""

from entrepot.catalog import Connection, repositories, tokens
from entrepot.catalog.audit import SERVER
from entrepot.catalog.engine import Catalog
from entrepot.catalog.tokens import TokenRow
from entrepot.model.errors import Refusal
from entrepot.model.nouns import OPERATOR, RepositoryName, Role
from entrepot.node.folder import DataFolder
from entrepot.observe import logs
from entrepot.observe.clock import Clock

EXAMPLE = RepositoryName(OPERATOR, "main")
TOKEN_NAME = "admin"

_log = logs.get("node")


def first_start(
    folder: DataFolder,
    catalog: Catalog,
    clock: Clock,
    url: str,
    *,
    show_token: bool,
    program: str,
) -> str | None:
    """Make the owner ``admin`` with a token and the repository ``admin/main`` where that owner does not exist yet, and
    on a later start a token alone where it is needed; the lines that say so, or None. ``url`` is the public one;
    ``show_token`` only where a person looks at a terminal; ``program`` is the command that was typed, which need not be
    on the PATH.

    A later start needs a token when no living one administers the server, and when ``DIR/admin-token`` holds what is no
    token of this catalog: whoever lost the token empties that file. Then what was called ``admin`` is revoked. A file
    that was deleted asks for nothing, since not everybody wants a token to lie there.

    The token goes to ``DIR/admin-token`` before its row is committed: a crash between leaves a token nobody knows, and
    the next start makes another; the other order would leave a row whose token nobody has. The repository's
    signing key is made in the background; its first publication waits for it. Raises OSError and Refusal, at the first
    start alone: later the server is worth more without a token than not at all.
    """
    kept = folder.admin_token()
    now_s = clock.now_s()
    with catalog.read() as conn:
        begun = tokens.has_owner(conn, OPERATOR)
        living = [row for row in tokens.list_tokens(conn, OPERATOR) if row.is_operator and not row.expired(now_s)]
        asked = kept is not None and tokens.by_text(conn, kept) is None
    if begun and living and not asked:
        return None
    try:
        text, path = _new_token(folder, catalog, now_s, living, begun=begun)
    except (OSError, Refusal) as error:
        if not begun:
            raise
        _log.error("no token made for the administrator", reason=str(error))
        return None
    if not begun:
        return welcome(url, text if show_token else f"$(cat {path})", path, program)
    return f"A new token of the administrator is in {path}.\n"


def _new_token(
    folder: DataFolder, catalog: Catalog, now_s: int, living: list[TokenRow], *, begun: bool
) -> tuple[str, str]:
    """Its text, and the path of the file that holds it."""
    text = tokens.new_text()
    path = folder.write_admin_token(text)

    def work(conn: Connection) -> None:
        tokens.ensure_owner(conn, OPERATOR, now_s)
        for row in living:
            if row.name == TOKEN_NAME:
                tokens.revoke(conn, row.id, now_s, actor=SERVER)
        tokens.create(conn, OPERATOR, TOKEN_NAME, Role.ADMIN, None, None, now_s, text=text, actor=SERVER)
        if not begun:
            repositories.create(conn, EXAMPLE, False, now_s, actor=SERVER)

    catalog.submit(work)
    return text, str(path)


def welcome(url: str, token: str, token_path: str, program: str) -> str:
    """What the first start prints. ``token`` is the text, or the shell words that read it: a log keeps no secret.

    The lines for each client are on the repository's page: here they would push the first step off the screen.
    """
    return f"""\
What to do next:

1. Push a package to the repository {EXAMPLE}, with curl or with the CLI:
     curl --fail-with-body -sS -T PACKAGE.deb -u {token}: {url}/{EXAMPLE}/debian/bookworm/

     export ENTREPOT_URL={url} ENTREPOT_TOKEN={token}
     {program} push {EXAMPLE}/el/9 PACKAGE.rpm

2. Install it. The lines to paste for apt, dnf, zypper, Maven and Gradle are on its page:
     {url}/{EXAMPLE}

3. Make a repository of your own:
     {program} repo create admin/NAME

The administrator's token is in {token_path}. `{program} --help` lists the commands.

"""
