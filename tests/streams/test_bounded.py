"""Budgets and decompressors: exact fits pass, one byte more, bombs, truncation and trailing bytes do not."""

import bz2
import gzip
import lzma
import resource
from collections.abc import Callable

import pytest
import zstandard

from entrepot.streams.bounded import BoundedReader, BytesReader, DecompressingReader, Kind, decompress
from entrepot.streams.errors import BudgetExceeded, Damaged

TEXT = b"".join(b"Package: p%d\nVersion: 1.%d\n\n" % (n, n * 7) for n in range(3000))
PACK: dict[Kind, Callable[[bytes], bytes]] = {
    "gzip": lambda data: gzip.compress(data, mtime=0),
    "xz": lzma.compress,
    "lzma": lambda data: lzma.compress(data, format=lzma.FORMAT_ALONE),
    "bzip2": bz2.compress,
    "zstd": lambda data: zstandard.ZstdCompressor(write_checksum=True).compress(data),
}
KINDS = sorted(PACK)
CHAINED = [kind for kind in KINDS if kind != "lzma"]


class Drip:
    """A source that gives one byte at a time, as a slow socket may."""

    def __init__(self, data: bytes) -> None:
        self.inner = BytesReader(data)

    def read(self, size_bytes: int) -> bytes:
        return self.inner.read(min(1, size_bytes))


@pytest.mark.parametrize(("size", "fits"), [(0, True), (9, True), (10, True), (11, False), (1000, False)])
def test_bounded_reader_tells_full_from_too_much(size: int, fits: bool) -> None:
    """Goal: exactly the budget passes, one byte more raises. Method: sources around a budget of 10."""
    reader = BoundedReader(BytesReader(b"x" * size), 10)
    if fits:
        assert reader.read_all() == b"x" * size
    else:
        with pytest.raises(BudgetExceeded) as caught:
            reader.read_all()
        assert caught.value.code == "package_hostile"
        assert caught.value.numbers["budget_bytes"] == 10


@pytest.mark.parametrize("kind", [*KINDS, "plain"])
def test_round_trip_at_exactly_the_budget(kind: Kind) -> None:
    """Goal: data of exactly the budget decodes, one byte less of budget refuses. Method: all kinds, in bulk and by
    drips."""
    packed = PACK[kind](TEXT) if kind != "plain" else TEXT
    assert decompress(packed, kind, len(TEXT)) == TEXT
    assert decompress(Drip(packed), kind, len(TEXT)) == TEXT
    with pytest.raises(BudgetExceeded):
        decompress(packed, kind, len(TEXT) - 1)


@pytest.mark.parametrize("kind", KINDS)
def test_small_reads_give_the_same_text(kind: Kind) -> None:
    """Goal: no byte is lost between reads. Method: read 37 bytes at a time."""
    reader = DecompressingReader(BytesReader(PACK[kind](TEXT)), kind, len(TEXT))
    parts = []
    while part := reader.read(37):
        parts.append(part)
    assert b"".join(parts) == TEXT


@pytest.mark.parametrize("kind", KINDS)
def test_truncated_anywhere(kind: Kind) -> None:
    """Goal: a cut at any byte is damage, never a shorter text. Method: every cut of a short stream, the empty one
    included."""
    packed = PACK[kind](b"Package: hello\n")
    for cut in range(len(packed)):
        with pytest.raises(Damaged):
            decompress(packed[:cut], kind, 1000)


@pytest.mark.parametrize("kind", KINDS)
def test_trailing_bytes(kind: Kind) -> None:
    """Goal: bytes after the data are refused. Method: one byte, text and NULs that are no padding behind a whole
    stream."""
    packed = PACK[kind](b"Package: hello\n")
    for tail in (b"x", b"trailing bytes of some length", b"\0\0\0"):
        with pytest.raises(Damaged):
            decompress(packed + tail, kind, 1000)


@pytest.mark.parametrize("kind", CHAINED)
def test_parts_in_a_row_are_one_text(kind: Kind) -> None:
    """Goal: concatenated parts decode as the tools decode them. Method: three parts, one of them empty."""
    pack = PACK[kind]
    assert decompress(pack(b"one ") + pack(b"") + pack(b"two"), kind, 7) == b"one two"


def test_xz_padding() -> None:
    """Goal: xz stream padding is a multiple of four NULs. Method: between and after streams; three bytes are refused
    above."""
    packed = lzma.compress(b"a")
    assert decompress(packed + b"\0" * 8 + packed + b"\0" * 4, "xz", 2) == b"aa"


@pytest.mark.parametrize("kind", CHAINED)
def test_endless_empty_parts(kind: Kind) -> None:
    """Goal: parts without output are bounded too. Method: 10,000 empty ones, which no output budget would ever stop."""
    with pytest.raises(Damaged):
        decompress(PACK[kind](b"") * 10_000, kind, 1000)


@pytest.mark.parametrize("kind", KINDS)
def test_flipped_bytes_never_pass_in_silence(kind: Kind) -> None:
    """Goal: corrupt data raises a refusal, nothing else. Method: flip every byte in turn; a survivor must be the same
    text."""
    text = b"Package: hello\nVersion: 1\n"
    packed = PACK[kind](text)
    for at in range(len(packed)):
        bad = packed[:at] + bytes([packed[at] ^ 0x55]) + packed[at + 1 :]
        try:
            found = decompress(bad, kind, 10_000)
        except (Damaged, BudgetExceeded):
            continue
        assert found == text or kind == "lzma"  # the old lzma format has no check sum


@pytest.mark.serial
@pytest.mark.parametrize("kind", KINDS)
def test_bomb_stays_small(kind: Kind) -> None:
    """Goal: a bomb is stopped within the budget, in little memory. Method: 400 MB of zeros, budget 1 MiB, peak memory
    of this process."""
    zeros = b"\0" * 4_000_000
    if kind == "lzma":
        packed = PACK[kind](zeros * 20)
    elif kind == "zstd":
        # One frame of RLE blocks: 4 bytes in, 128 KiB out, the worst ratio the format has (RFC 8878, 3.1.1.2).
        block = ((1 << 17) << 3 | 1 << 1).to_bytes(3, "little") + b"\0"
        packed = b"\x28\xb5\x2f\xfd" + b"\x00\x58" + block * 3000
    else:
        packed = PACK[kind](zeros) * 100
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(BudgetExceeded):
        decompress(packed, kind, 1 << 20)
    grown_bytes = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert grown_bytes < 24 << 20


def test_decoder_memory_is_bounded() -> None:
    """Goal: a header that asks for a huge window is refused. Method: a zstd frame and an xz stream made with windows
    above the cap."""
    params = zstandard.ZstdCompressionParameters(window_log=28)
    packed = zstandard.ZstdCompressor(compression_params=params).compressobj()
    frame = packed.compress(b"x") + packed.flush()
    with pytest.raises(Damaged):
        decompress(frame, "zstd", 1000)
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 256 << 20, "mode": lzma.MODE_FAST, "mf": lzma.MF_HC3}]
    header = lzma.LZMACompressor(lzma.FORMAT_XZ, filters=filters)
    with pytest.raises(Damaged):
        decompress(header.compress(b"x") + header.flush(), "xz", 1000)
