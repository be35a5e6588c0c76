"""The stages between a model and a verdict: a module each, or a package each where a stage has several parts.

Most stages import no other stage. ``audit``, ``chain``, ``consensus`` and ``gate`` build on ``verify``, and ``gate`` on
``consensus``; ``docs/architecture.md`` draws it.
"""
