"""The command line: parse, call one stage, render; the only importers of typer and rich."""
