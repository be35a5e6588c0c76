"""Rewrites of the graph that keep its function and save rows."""
