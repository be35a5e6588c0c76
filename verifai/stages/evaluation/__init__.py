"""Data sets as values, and evaluations checked: everything is hashed, matched and counted again."""
