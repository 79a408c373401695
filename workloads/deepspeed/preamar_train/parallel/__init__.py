"""How one model is split over ranks, and how a step is computed then."""
