"""How is it going? Commands that read a cluster as its user, and write nothing."""
