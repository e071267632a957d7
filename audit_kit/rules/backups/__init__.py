"""Whether the backups would bring every invoice back."""
