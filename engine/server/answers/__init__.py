"""What the engine answers to each command; one file per topic, each with `answers(runtime)`."""
