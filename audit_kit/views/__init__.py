"""From tables to what a person sees."""
