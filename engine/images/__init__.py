"""Pictures as files: writing them with their recipe, reading recipes back, names, uploads, rebuilding the history."""
