"""Helpers that the tests and the bench share: package builders, real clients, real servers, real volumes.

Nothing here tests the product; `tests/support_selftest` tests these helpers against independent, real components.
"""
