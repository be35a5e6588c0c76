"""Language models to ONNX: GGUF files and Hugging Face folders, read as data; no code of theirs is run."""
