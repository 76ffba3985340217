"""Widgets that build one piece of the page each."""
