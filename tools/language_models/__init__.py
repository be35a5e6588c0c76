"""Measures language models' circuits where no proof of the whole model fits the machine."""
