"""Composition root and commands: builds every part and hands the node an ASGI app."""
