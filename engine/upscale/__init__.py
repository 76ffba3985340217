"""Pictures made two or four times as large by a small network; knows nothing of jobs."""
