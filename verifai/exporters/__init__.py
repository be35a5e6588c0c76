"""Source frameworks to ONNX: one file each, the only importers of those frameworks."""
