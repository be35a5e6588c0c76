"""ONNX models: load, lint, canonicalise, describe operators, run the reference."""
