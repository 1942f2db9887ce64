"""The HTTP client behind `entrepot push`, the canary and the bench; installs without the server."""
