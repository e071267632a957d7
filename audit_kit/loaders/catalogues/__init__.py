"""What backup tools say of themselves, one module a family of tools."""
