"""verifai: verifiable machine-learning inference."""
