"""The studio's memory on disk: one SQLite file for jobs, pictures, the library index, values and logs."""
