"""Reads of repository addresses: entry points, index files by digest, packages, keys. The hot path of the server.

A warm entry point costs no SQL and no thread: route (remembered), repository (remembered), view (from memory), answer.
"""

import asyncio
import glob
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, nullcontext

from entrepot.catalog import Connection
from entrepot.catalog import files as catalog_files
from entrepot.catalog import keys as catalog_keys
from entrepot.catalog.files import FileRow
from entrepot.catalog.repositories import RepositoryRow
from entrepot.formats.protocol import OCTETS, DigestTarget, EntryTarget, FileTarget, Format
from entrepot.model.errors import Refusal
from entrepot.model.limits import KIB, MIB
from entrepot.model.nouns import Role
from entrepot.publish.reader import IndexView
from entrepot.storage.protocol import OpenCopy
from entrepot.streams.hashing import MultiHash
from entrepot.web import auth
from entrepot.web.address import RepositoryAddress, Routes
from entrepot.web.call import Call, Header
from entrepot.web.conditional import Validators, byte_range, check_match, http_date, not_modified
from entrepot.web.services import Services

CHUNK_BYTES = 1 * MIB
DOCUMENTS_KNOWN_MAX = 16384
PIECE_BYTES = 256 * KIB
FOREVER = b"max-age=31536000, immutable"
REVALIDATE = b"no-cache"
PGP_KEYS = b"application/pgp-keys"

# An uploaded POM is XML, and XML can hold scripts: with these no browser runs them under this server's name.
INERT: tuple[Header, ...] = (
    (b"content-security-policy", b"default-src 'none'; sandbox"),
    (b"x-content-type-options", b"nosniff"),
)


class Reads:
    """GET and HEAD below ``/USER/REPO/``."""

    def __init__(self, services: Services, routes: Routes) -> None:
        self._services = services
        self._routes = routes
        # Entry points that were seen to be documents: with their scope in memory, reading them blocks nothing.
        self._documents: set[tuple[int, str, str, str]] = set()
        self.page: Callable[[Call, RepositoryRow], Awaitable[None]] | None = None

    async def allow(self, call: Call, found: RepositoryAddress) -> RepositoryRow:
        """The repository, if the request may read it.

        Raises Refusal: for a private one 401 without a valid token (clients send theirs only after a challenge), 403
        for a token of elsewhere. One that does not exist answers the same, so that nobody learns the names of private
        ones; ``repository_unknown`` is for who could read it.
        """
        services = self._services
        row: RepositoryRow | None = services.repository_known(found.repository)
        unknown: Refusal | None = None
        if row is None:
            try:
                row = await services.repository(found.repository)
            except Refusal as refusal:
                unknown = refusal
        if row is None or row.private:
            token = await services.identify(call, found.path_token)
            auth.require(token, Role.READ, found.repository)
        if row is None:
            raise unknown or Refusal("repository_unknown")
        return row

    async def serve(self, call: Call, found: RepositoryAddress) -> None:
        """Answer one GET or HEAD. Raises Refusal."""
        call.route = "read"
        row = await self.allow(call, found)
        rest = found.rest
        first = rest.partition("/")[0]
        owners = self._services.by_mount.get(first)
        routed = self._routes.find(owners, "GET", rest) if owners and not rest.endswith("/") else None
        if routed is None:
            await self._own(call, found, row)
            return
        owner, target = routed
        if isinstance(target, EntryTarget):
            await self._entry(call, row, target)
        elif isinstance(target, FileTarget):
            await self._file(call, row, owner, target)
        elif isinstance(target, DigestTarget):
            await self._digest(call, row, target)
        else:
            raise Refusal("not_found")

    async def _own(self, call: Call, found: RepositoryAddress, row: RepositoryRow) -> None:
        """What is the repository's own and no format's: its page and its keys."""
        rest = found.rest.rstrip("/")
        if rest in ("gpgkey", "gpg.key"):
            await self._key(call, row, await self._services.sql(self._services.keys.public_armored, row.id))
        elif rest.startswith("gpgkey/"):
            name = rest.removeprefix("gpgkey/")
            key = await self._services.sql(self._services.read, catalog_keys.package_key_of, row.id, name)
            await self._key(call, row, key.public_armored.encode("ascii"))
        elif rest.startswith("packages/"):
            await self._download(call, row, rest.split("/"))
        elif rest == "":
            call.route = "page"
            assert self.page is not None
            await self.page(call, row)
        else:
            raise Refusal("not_found")

    async def _key(self, call: Call, row: RepositoryRow, content: bytes) -> None:
        call.route = "key"
        # The repository's date is not that of a key which took the place of another: the ETag alone vouches for it.
        validators = Validators(_sha256(content), row.created_at, date_vouches=False)
        await self._small(call, row, content, PGP_KEYS, validators)

    async def _download(self, call: Call, row: RepositoryRow, segments: list[str]) -> None:
        """``packages/FAMILY/VERSION/FILENAME/download`` (also ``download.deb``, ``download.rpm``): packagecloud's
        links.
        """
        if len(segments) != 5 or not segments[4].startswith("download"):
            raise Refusal("not_found")
        services = self._services
        distribution, name = f"{segments[1]}/{segments[2]}", glob.escape(segments[3])

        def work(conn: Connection) -> tuple[FileRow, ...]:
            return catalog_files.match(conn, row.id, distribution, filename=name)

        found = await services.sql(services.read, work)
        if not found:
            raise Refusal("not_found", "There is no such file; it may have been yanked.")
        disposition = b'attachment; filename="' + segments[3].encode("ascii", "replace").replace(b'"', b"") + b'"'
        owner = services.format_of(services.distributions.by_path(distribution))
        content_type = owner.content_type(found[0].filename)
        await self._whole(call, row, found[0], content_type, REVALIDATE, [(b"content-disposition", disposition)])

    # ------------------------------------------------------------------ index files

    async def _entry(self, call: Call, row: RepositoryRow, target: EntryTarget) -> None:
        place = (row.id, target.distribution, target.scope, target.name)
        client = _client_key(call) if target.pair else None
        reader = self._services.reader
        if place in self._documents and reader.cached(row.id, target.distribution, target.scope):
            view = reader.entry(*place, client, target.pair)
        else:
            view = await self._services.sql(reader.entry, *place, client, target.pair)
            if view is not None and isinstance(view.content, bytes):
                if len(self._documents) >= DOCUMENTS_KNOWN_MAX:
                    self._documents.clear()
                self._documents.add(place)
        if view is None:
            raise Refusal(
                "not_found", "No such index file; the repository may have no package for this distribution yet."
            )
        validators = Validators(view.sha256, view.last_modified_s, view.not_modified_safe)
        headers = _headers(view.content_type.encode(), validators, REVALIDATE, row.private)
        check_match(call.headers, validators)
        if not_modified(call.headers, validators):
            await _send_not_modified(call, headers)
        elif isinstance(view.content, bytes):
            await self._bytes(call, view.content, headers, validators)
        else:
            await self._index(call, view.content, headers, validators)

    async def _bytes(self, call: Call, content: bytes, headers: list[Header], validators: Validators) -> None:
        wanted = _wanted(call, validators, len(content))
        if wanted is None:
            await call.answer(200, headers, content)
            return
        start, stop = wanted
        headers.append((b"content-range", b"bytes %d-%d/%d" % (start, stop - 1, len(content))))
        await call.answer(206, headers, content[start:stop])

    async def _digest(self, call: Call, row: RepositoryRow, target: DigestTarget) -> None:
        reader = self._services.reader
        view = await self._services.sql(reader.by_digest, row.id, target.distribution, target.scope, target.sha256)
        if view is None:
            raise Refusal("not_found", "This index file is no longer kept; fetch the index again.")
        validators = Validators(view.sha256, view.last_modified_s)
        headers = _headers(OCTETS.encode(), validators, FOREVER, row.private)
        content = view if isinstance(view, IndexView) else view.content
        check_match(call.headers, validators)
        if not_modified(call.headers, validators):
            await _send_not_modified(call, headers)
        elif isinstance(content, bytes):
            await self._bytes(call, content, headers, validators)
        else:
            await self._index(call, content, headers, validators)

    async def _index(self, call: Call, view: IndexView, headers: list[Header], validators: Validators) -> None:
        start, stop = await _send_head(call, headers, validators, view.size_bytes)
        if call.method == "HEAD" or start == stop:
            await call.write(b"", more=False)
            return
        pieces = await self._services.files(view.iterate, start, stop)
        with _watched(call) if stop - start > PIECE_BYTES else nullcontext():
            while not call.gone and (chunk := await self._services.files(_gather, pieces)):
                await call.write(chunk, more=True)
        await call.write(b"", more=False)

    # ------------------------------------------------------------------ package files

    async def _file(self, call: Call, row: RepositoryRow, owner: Format, target: FileTarget) -> None:
        services = self._services
        file = await services.sql(
            services.read, catalog_files.find_by_path, row.id, target.distribution, target.path, target.sha256
        )
        if file is None:
            raise Refusal("not_found", "There is no such file; it may have been yanked.")
        if target.derive is not None:
            digest = getattr(file, target.derive) or await services.files(self._derive, file, target.derive)
            validators = Validators(f"{file.sha256}-{target.derive}", self._date_of(file))
            await self._small(call, row, digest.encode(), b"text/plain", validators)
            return
        cache = FOREVER if target.sha256 is not None else REVALIDATE
        await self._whole(call, row, file, owner.content_type(file.filename), cache, [])

    async def _whole(
        self, call: Call, row: RepositoryRow, file: FileRow, content_type: str, cache: bytes, more: list[Header]
    ) -> None:
        """Send a package file, or say that the client has it."""
        validators = Validators(file.sha256, self._date_of(file))
        headers = [*_headers(content_type.encode(), validators, cache, row.private), *INERT, *more]
        check_match(call.headers, validators)
        if not_modified(call.headers, validators):
            await _send_not_modified(call, headers)
        else:
            await self._copy(call, file, headers, validators)

    async def _copy(self, call: Call, file: FileRow, headers: list[Header], validators: Validators) -> None:
        if call.method == "HEAD":
            await _send_head(call, headers, validators, file.size_bytes)
            await call.write(b"", more=False)
            return
        assert file.copy_key is not None
        source, first = await self._services.opened(lambda opened: opened[0].close(), self._open, file.copy_key)
        try:
            start, stop = await _send_head(call, headers, validators, file.size_bytes)
            await self._stream(call, source, first, start, stop)
        finally:
            source.close()

    def _open(self, key: str) -> tuple[OpenCopy, bytes]:
        """The copy and its first piece, in one visit to a thread: most package files are no longer than that."""
        source = self._services.store.open(key)
        try:
            return source, source.read_at(0, PIECE_BYTES)
        except BaseException:
            source.close()
            raise

    async def _stream(self, call: Call, source: OpenCopy, first: bytes, start: int, stop: int) -> None:
        at = start
        if start == 0 and first:
            chunk = first[:stop]
            at = len(chunk)
            await call.write(chunk, more=at < stop)
        with _watched(call) if at < stop else nullcontext():
            while at < stop and not call.gone:
                chunk = await self._services.files(source.read_at, at, min(CHUNK_BYTES, stop - at))
                if not chunk:
                    raise Refusal("storage_failed", "The stored file is shorter than it should be.")
                at += len(chunk)
                await call.write(chunk, more=at < stop)
        if start == stop:
            await call.write(b"", more=False)

    def _derive(self, file: FileRow, algorithm: str) -> str:
        """A digest that nobody computed yet; blocking. Upkeep fills these in, so this is rare."""
        assert file.copy_key is not None
        lane = MultiHash({algorithm} - {"sha256"}, sha256=algorithm == "sha256")
        with self._services.store.open(file.copy_key) as source:
            at = 0
            while chunk := source.read_at(at, CHUNK_BYTES):
                lane.update(chunk)
                at += len(chunk)
        return lane.hexdigests()[algorithm]

    def _date_of(self, file: FileRow) -> int:
        """When the file came, never in the future: after a clock was set back it would."""
        return min(file.created_at, self._services.clock.now_s())

    async def _small(
        self, call: Call, row: RepositoryRow, content: bytes, content_type: bytes, validators: Validators
    ) -> None:
        """A small thing that is made anew for each request."""
        headers = _headers(content_type, validators, REVALIDATE, row.private)
        check_match(call.headers, validators)
        if not_modified(call.headers, validators):
            await _send_not_modified(call, headers)
        else:
            await self._bytes(call, content, headers, validators)


def _sha256(content: bytes) -> str:
    hashes = MultiHash()
    hashes.update(content)
    return hashes.digests().sha256


@contextmanager
def _watched(call: Call) -> Iterator[None]:
    """Notice inside this block when the client hangs up: writing to nobody succeeds, and would read a whole file from
    disk for each one who asks for it and leaves.
    """
    watch = asyncio.ensure_future(call.watch())
    try:
        yield
    finally:
        watch.cancel()


def _cache(directive: bytes, private: bool) -> bytes:
    """Private repositories must never lie in a shared cache (RFC 9111 section 5.2.2.7)."""
    return (b"private, " if private else b"public, " if directive is FOREVER else b"") + directive


def _headers(content_type: bytes, validators: Validators, cache: bytes, private: bool) -> list[Header]:
    return [
        (b"content-type", content_type),
        (b"etag", b'"' + validators.etag.encode() + b'"'),
        (b"last-modified", http_date(validators.last_modified_s)),
        (b"accept-ranges", b"bytes"),
        (b"cache-control", _cache(cache, private)),
    ]


async def _send_not_modified(call: Call, headers: list[Header]) -> None:
    await call.start(304, [*headers[1:3], headers[4]])
    await call.write(b"", more=False)


def _wanted(call: Call, validators: Validators, size_bytes: int) -> tuple[int, int] | None:
    """The range that a GET asks for; other methods have none (RFC 9110 section 14.2)."""
    if b"range" not in call.headers or call.method != "GET":
        return None
    return byte_range(call.headers, validators, size_bytes)


async def _send_head(call: Call, headers: list[Header], validators: Validators, size_bytes: int) -> tuple[int, int]:
    """Send 200, or 206 with its range; returns which bytes are to follow."""
    wanted = _wanted(call, validators, size_bytes)
    start, stop = wanted or (0, size_bytes)
    headers.append((b"content-length", b"%d" % (stop - start)))
    if wanted is not None:
        headers.append((b"content-range", b"bytes %d-%d/%d" % (start, stop - 1, size_bytes)))
    await call.start(200 if wanted is None else 206, headers)
    return start, stop


def _gather(pieces: Iterator[bytes]) -> bytes:
    """The next pieces of an index, together about a quarter of a mebibyte; b"" at the end. Blocking."""
    found: list[bytes] = []
    size = 0
    for piece in pieces:
        found.append(piece)
        size += len(piece)
        if size >= PIECE_BYTES:
            break
    return b"".join(found)


def _client_key(call: Call) -> str:
    """Who asks, for pairs: address, User-Agent and credentials. The text is only compared, never kept or shown."""
    agent = call.headers.get(b"user-agent", b"")
    return f"{call.address}\n{hash(agent)}\n{hash(call.headers.get(b'authorization', b''))}"
