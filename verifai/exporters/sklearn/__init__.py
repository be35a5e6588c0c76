"""scikit-learn estimators to ONNX: files read safely, estimators written as plain linear algebra, the rest by skl2onnx."""
