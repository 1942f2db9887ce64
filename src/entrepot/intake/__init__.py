"""One upload's way in: admit → receive → inspect → commit → receipt. Knows formats only through their protocol."""
