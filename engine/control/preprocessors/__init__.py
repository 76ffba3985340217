"""Preprocessors: from any picture to the hint that a ControlNet was trained with, one file each."""
