"""Pure work on streams of bytes: digests, budgets, windows, and readers of ar, tar and zip that trust nothing."""
