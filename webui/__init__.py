"""The web process: the page, the REST routes, the live wire. No torch."""
