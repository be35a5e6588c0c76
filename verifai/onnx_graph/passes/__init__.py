"""The rewriting passes, one per file; :mod:`verifai.onnx_graph.canonicalise` gives their order."""
