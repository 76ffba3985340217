"""The engine process: composition, routes, events, and the in-process client."""
