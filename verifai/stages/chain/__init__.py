"""A model split into segments whose proofs chain: split, verify, and the tensors handed from one to the next."""
