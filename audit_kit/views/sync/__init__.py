"""The page on sync delays."""
