"""Dirty → rendered → signed → visible: the segment and tail index, its merges, its one writer per scope, and what
readers see."""
