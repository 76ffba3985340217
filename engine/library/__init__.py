"""The files that a person has: found, read by their headers, named. No torch, no weights."""
