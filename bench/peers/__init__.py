"""The programs that rows are compared with, set up as their manuals say."""
