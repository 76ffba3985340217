"""Readers of recipes: one file per dialect of picture metadata."""
