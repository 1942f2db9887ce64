"""Alembic's folder. One file a revision under ``versions``; ``entrepot.catalog.revision`` runs them."""
