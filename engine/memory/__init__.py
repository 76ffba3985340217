"""What stays in memory: the pool, its leases, and which entry goes first."""
