"""Entrepot: a self-hosted package repository server. ARCHITECTURE.md says which floor holds what."""

__version__ = "0.1.0"
