"""Signed releases of models: signatures verified offline in a fenced child, files compared, sources exported again."""
