"""The on-disk evidence format: the only reader and writer of bundles."""
