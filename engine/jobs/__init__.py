"""Jobs: admission, order, the one torch thread, snapshots and recovery."""
