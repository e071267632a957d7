"""An engagement worked up once, and kept."""
