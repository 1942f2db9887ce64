"""The only place for logs, metrics, the clock and the health registry."""
