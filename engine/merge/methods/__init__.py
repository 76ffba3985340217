"""The ways in which changes of one module become one change, one file each, with the verbs `validate` and `merge`."""
