"""What two processes must agree on, written once."""
