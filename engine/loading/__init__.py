"""Weights from files into components, one component at a time."""
