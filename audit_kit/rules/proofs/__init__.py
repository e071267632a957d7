"""What papers and logs about an invoice prove: frames in, frames out, before any cause is named."""
