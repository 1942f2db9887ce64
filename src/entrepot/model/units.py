"""How sizes are shown to people: by pages, by the command line and by ``entrepot top`` alike."""

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


def size_text(size_bytes: float) -> str:
    """``1.4 MiB``: binary units, one decimal, whole bytes below 1 KiB."""
    value, power = float(size_bytes), 0
    # What would be rounded up to 1024.0 is one of the next unit.
    while abs(value) >= (1023.95 if power else 1023.5) and power < len(_UNITS) - 1:
        value, power = value / 1024, power + 1
    return f"{value:.1f} {_UNITS[power]}" if power else f"{value:.0f} B"
