"""Package formats: one pure folder each, found by scanning; they import only streams and model. See
docs/adr/0001-format-protocol.md."""
