"""Benchmarks: `launch.py bench`."""
