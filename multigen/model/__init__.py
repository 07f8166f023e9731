"""Models: building, loading, saving and using the parts of a recipe with their weights."""
