"""What a file is, and its cells."""
