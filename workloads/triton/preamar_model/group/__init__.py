"""One model over several pods: who belongs to a group, how its parts meet, and how they end together."""
