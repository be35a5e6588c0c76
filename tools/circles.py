"""``python -m tools.circles`` prints the circles among the modules of verifai.

Imports inside functions count, those for type checkers alone do not.
"""

from __future__ import annotations

import grimp


def circles(package: str = "verifai") -> list[list[str]]:
    """Groups of modules that all reach each other, each in alphabetical order."""
    graph = grimp.build_graph(package, exclude_type_checking_imports=True, cache_dir=None)
    reached = {module: graph.find_upstream_modules(module) for module in graph.modules}
    found = {frozenset({module, *(other for other in reached[module] if module in reached[other])}) for module in reached}
    return sorted(sorted(group) for group in found if len(group) > 1)


if __name__ == "__main__":
    for group in circles():
        print(" ↔ ".join(group))
