"""Finds the formats: every folder of this package whose ``__init__`` offers ``FORMAT``."""

import importlib
import pkgutil
from functools import cache

import entrepot.formats
from entrepot.formats.protocol import Format


@cache
def formats() -> dict[str, Format]:
    """All formats by name, in alphabetical order of their folders."""
    found: dict[str, Format] = {}
    for module in sorted(pkgutil.iter_modules(entrepot.formats.__path__), key=lambda item: item.name):
        if module.ispkg:
            loaded = importlib.import_module(f"entrepot.formats.{module.name}")
            found[loaded.FORMAT.name] = loaded.FORMAT
    return found
