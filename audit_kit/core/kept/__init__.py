"""What is kept of an engagement beside the analyses: never in its folder, never in what leaves."""
