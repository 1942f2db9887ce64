"""The chain of revisions, from the first one on. A released revision is never edited: the next one changes what it
made.
"""
