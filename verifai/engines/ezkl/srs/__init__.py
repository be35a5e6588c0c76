"""The structured reference string: files, store, ceremony, and the curve's arithmetic."""
