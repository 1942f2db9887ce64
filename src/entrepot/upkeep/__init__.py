"""Garbage collection, scrubbing, retention and yank."""
