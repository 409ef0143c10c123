"""Head rankings in words: one, and several against each other."""
