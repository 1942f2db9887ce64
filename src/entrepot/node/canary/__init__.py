"""The canary: a node tries its own front door again and again, so that it finds trouble before a customer does."""
