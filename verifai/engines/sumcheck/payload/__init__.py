"""What a bundle's payload shows: its files and their bytes."""
