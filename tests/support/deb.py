"""Debian packages built in code: through the real dpkg-deb, and by a fast writer that can also lie."""

import functools
import gzip
import lzma
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

import zstandard

from tests.support.process import run
from tests.support.tar import BLOCK_SIZE, TarMember, file_tree, tar_bytes, tar_header

Compression = Literal["gz", "xz", "zst", "none"]
AR_MAGIC = b"!<arch>\n"
DPKG_NAMES: dict[Compression, str] = {"gz": "gzip", "xz": "xz", "zst": "zstd", "none": "none"}
BOMB_CHUNK_BYTES = 1 << 20


def control_text(
    name: str, version: str, arch: str = "amd64", fields: Mapping[str, str] | None = None, control_extra: str = ""
) -> str:
    """A binary control stanza. `fields` adds fields or replaces the defaults; `control_extra` is appended as it is."""
    values = {
        "Package": name,
        "Version": version,
        "Architecture": arch,
        "Maintainer": "Test Builder <builder@example.org>",
        "Section": "misc",
        "Priority": "optional",
        **(fields or {}),
    }
    values.setdefault("Description", f"package {name} for tests\n It was made by a builder in code.")
    return "".join(f"{field}: {value}\n" for field, value in values.items()) + control_extra


def deb_file_name(name: str, version: str, arch: str = "amd64") -> str:
    """The customary file name, without the epoch."""
    return f"{name}_{version.split(':', 1)[-1]}_{arch}.deb"


def default_files(name: str, version: str) -> dict[str, bytes]:
    """One small file, in the documentation folder, that differs between versions."""
    return {f"usr/share/doc/{name}/version": f"{name} {version}\n".encode()}


def make_deb(
    folder: Path,
    name: str,
    version: str = "1.0-1",
    arch: str = "amd64",
    *,
    compression: Compression = "xz",
    fields: Mapping[str, str] | None = None,
    files: Mapping[str, bytes] | None = None,
    control_extra: str = "",
    scripts: Mapping[str, str] | None = None,
) -> Path:
    """Build a package with dpkg-deb into `folder` and return its path.

    `files` maps paths below the root to contents; `scripts` maps control members (postinst, triggers, …) to text.
    Raises `CommandError` if dpkg-deb refuses the control file.
    """
    target = folder / deb_file_name(name, version, arch)
    with tempfile.TemporaryDirectory(prefix="deb-") as work:
        tree = Path(work, "tree")
        (tree / "DEBIAN").mkdir(parents=True, mode=0o755)
        (tree / "DEBIAN/control").write_text(control_text(name, version, arch, fields, control_extra))
        for member, text in (scripts or {}).items():
            script = tree / "DEBIAN" / member
            script.write_text(text)
            script.chmod(0o755 if text.startswith("#!") else 0o644)
        for path, data in (default_files(name, version) if files is None else files).items():
            file = tree / path.strip("/")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
        run(["dpkg-deb", "--root-owner-group", f"-Z{DPKG_NAMES[compression]}", "--build", tree, target])
    return target


def compress(data: bytes, compression: Compression) -> bytes:
    """Compress at the fastest level; deterministic."""
    match compression:
        case "gz":
            return gzip.compress(data, 1, mtime=0)
        case "xz":
            return lzma.compress(data, preset=0)
        case "zst":
            return zstandard.compress(data, 1)
        case "none":
            return data


def member_suffix(compression: Compression) -> str:
    """The suffix of control.tar and data.tar for a compression."""
    return "" if compression == "none" else f".{compression}"


def ar_member(name: str | bytes, data: bytes, size_field: bytes | None = None) -> bytes:
    """One ar member with its pad byte; `size_field` overrides the ten characters of the size."""
    raw = name.encode() if isinstance(name, str) else name
    size = b"%-10d" % len(data) if size_field is None else size_field.ljust(10)
    return b"%-16b%-12d%-6d%-6d%-8b%b`\n" % (raw, 1_700_000_000, 0, 0, b"100644", size) + data + b"\n" * (len(data) % 2)


@functools.lru_cache(maxsize=32)
def small_data_tar(files: tuple[tuple[str, bytes], ...], compression: Compression) -> bytes:
    """The compressed data.tar of a few files; kept, because benches make thousands of packages with the same files."""
    return compress(tar_bytes(file_tree(dict(files))), compression)


def deb_bytes(
    name: str,
    version: str = "1.0-1",
    arch: str = "amd64",
    *,
    compression: Compression = "gz",
    data_compression: Compression | None = None,
    fields: Mapping[str, str] | None = None,
    files: Mapping[str, bytes] | None = None,
    control_extra: str = "",
    control_raw: bytes | None = None,
    control_members: list[TarMember] | None = None,
    control_bomb_bytes: int = 0,
    members_before: list[tuple[str | bytes, bytes]] | None = None,
    members_between: list[tuple[str | bytes, bytes]] | None = None,
    members_after: list[tuple[str | bytes, bytes]] | None = None,
    format_version: bytes = b"2.0\n",
    truncate_to: int | None = None,
    trailing: bytes = b"",
) -> bytes:
    """A package made in memory, without any program: more than 10,000 small ones a second.

    `files=None` means one small file; it is the same for every package so that its compressed form is made once.
    Hostile knobs: `control_raw` is the control file byte for byte; `control_members` go into control.tar beside it;
    `control_bomb_bytes` adds a control.tar member of that many zeros; `members_before`, `members_between` and
    `members_after` are extra ar members (before debian-binary, after it, at the end); `format_version` is
    debian-binary; `truncate_to` cuts the finished file (a negative number counts from its end); `trailing` is appended
    to it.
    """
    control = control_text(name, version, arch, fields, control_extra).encode() if control_raw is None else control_raw
    inner = [TarMember(b"./", mode=0o755, kind=b"5"), TarMember(b"./control", control), *(control_members or [])]
    if control_bomb_bytes:
        control_tar = bomb(inner, control_bomb_bytes, compression)
    else:
        control_tar = compress(tar_bytes(inner), compression)
    data_kind = compression if data_compression is None else data_compression
    content = {"usr/share/doc/entrepot-test/copyright": b"test\n"} if files is None else files
    data_tar = small_data_tar(tuple(content.items()), data_kind)
    parts = [AR_MAGIC]
    parts += [ar_member(*member) for member in members_before or []]
    parts.append(ar_member("debian-binary", format_version))
    parts += [ar_member(*member) for member in members_between or []]
    parts.append(ar_member("control.tar" + member_suffix(compression), control_tar))
    parts.append(ar_member("data.tar" + member_suffix(data_kind), data_tar))
    parts += [ar_member(*member) for member in members_after or []]
    whole = b"".join(parts)
    return (whole if truncate_to is None else whole[:truncate_to]) + trailing


def bomb_plain(members: list[TarMember], size_bytes: int) -> Iterator[bytes]:
    """The plain tar of `members` plus one file of `size_bytes` zeros, in pieces."""
    yield tar_bytes(members)[: -2 * BLOCK_SIZE]
    yield tar_header(TarMember(b"./md5sums"), size_bytes)
    padded = size_bytes + -size_bytes % BLOCK_SIZE + 2 * BLOCK_SIZE
    zeros = bytes(BOMB_CHUNK_BYTES)
    for start in range(0, padded, BOMB_CHUNK_BYTES):
        yield zeros[: padded - start]


def bomb(members: list[TarMember], size_bytes: int, compression: Compression) -> bytes:
    """A compressed control.tar that swells to `size_bytes`.

    One stream, one pass; 1 GiB takes 6 seconds in gz or xz, 0.4 in zst.
    """
    pieces = bomb_plain(members, size_bytes)
    if compression == "gz":
        deflate = zlib.compressobj(9, wbits=31)
        return b"".join(deflate.compress(piece) for piece in pieces) + deflate.flush()
    if compression == "xz":
        squeeze = lzma.LZMACompressor(preset=0)
        return b"".join(squeeze.compress(piece) for piece in pieces) + squeeze.flush()
    if compression == "zst":
        pack = zstandard.ZstdCompressor(level=1).compressobj()
        return b"".join(pack.compress(piece) for piece in pieces) + pack.flush()
    return b"".join(pieces)


def write_deb(
    folder: Path, name: str, version: str = "1.0-1", arch: str = "amd64", *, content: bytes | None = None
) -> Path:
    """Write `content`, by default a plain `deb_bytes` package, under the customary file name."""
    target = folder / deb_file_name(name, version, arch)
    target.write_bytes(deb_bytes(name, version, arch) if content is None else content)
    return target
