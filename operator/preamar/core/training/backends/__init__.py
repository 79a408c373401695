"""What trains, and what is asked of it: each trainer is a folder behind one protocol."""
