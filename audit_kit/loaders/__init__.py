"""From files to tables. Nothing is lost between them."""
