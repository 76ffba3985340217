"""Adapters: LoRA and every LyCORIS kind, read from files, told against a model, turned into changes of its weights."""
