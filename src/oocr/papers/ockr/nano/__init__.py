"""A world of one token a name, year and word, in which each result of the paper appears."""
