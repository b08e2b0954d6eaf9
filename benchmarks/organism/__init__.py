"""docs/organism.md and its figures: the page of a model whose truth is known."""
