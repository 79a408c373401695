"""What accelerators are, and who has them."""
