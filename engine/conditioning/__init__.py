"""From prompts to embeddings: the grammar (no torch), and encoding through compel."""
