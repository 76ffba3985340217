"""Pictures in progress as values, and the evaluations that advance them."""
