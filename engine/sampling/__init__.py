"""Samplers and noise schedules: one table over diffusers' schedulers."""
