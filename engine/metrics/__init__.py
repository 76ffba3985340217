"""What the engine counts and times: Prometheus metrics, and the stage spans of one job."""
