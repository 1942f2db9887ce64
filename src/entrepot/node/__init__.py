"""The node's life cycle, its background loops, draining and retiring."""
