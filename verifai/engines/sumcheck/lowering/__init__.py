"""From an ONNX graph to an integer program."""
