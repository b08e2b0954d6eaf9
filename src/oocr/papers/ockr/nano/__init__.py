"""A world with one token per name, year and word, in which each result of the paper appears."""
