"""The nouns, the limits and the error table. Standard library only; everything else stands on this floor."""
