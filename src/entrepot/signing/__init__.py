"""Signing keys and signatures."""
