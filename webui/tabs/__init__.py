"""The core tabs, one file each."""
