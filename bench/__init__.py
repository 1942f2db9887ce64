"""What the product must reach, measured: the real server over a socket on a volume of its own, beside its peers."""
