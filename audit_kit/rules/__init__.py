"""From tables to findings: frames in, frames out, no file and no screen."""
