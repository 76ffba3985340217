"""What Easel knows about model families: parts, configs, names of weights. No torch."""
