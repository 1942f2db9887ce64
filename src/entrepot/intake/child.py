"""What runs in a child process: one inspection of one staged file."""

from collections.abc import Sequence

from entrepot.disk import fs
from entrepot.formats.protocol import Inspection, Upload
from entrepot.formats.registry import formats
from entrepot.streams.window import Window


def inspect(format_name: str, upload: Upload, head_bytes: int, tail_bytes: int, *, fds: Sequence[int]) -> Inspection:
    """Judge the staged file behind ``fds[0]``, seeing its first ``head_bytes`` and last ``tail_bytes`` only.

    Raises Refusal as :meth:`Format.inspect`.
    """
    window = Window(upload.size_bytes, fs.reader_at(fds[0]), head_bytes=head_bytes, tail_bytes=tail_bytes)
    return formats()[format_name].inspect(upload, window)


def inspect_ends(format_name: str, upload: Upload, head: bytes, tail: bytes) -> Inspection:
    """The same for a store without descriptors: the two ends come as bytes."""
    return formats()[format_name].inspect(upload, Window.of_ends(upload.size_bytes, head, tail))


# Imported while the child warms up, before its memory is capped: the first call is then as fast as the next.
formats()
