"""Commands of launch.py that need the whole of Easel; each is a module with a `main`."""
