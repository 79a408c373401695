"""Models that lie outside the cluster: found, fetched within bounds, kept."""
