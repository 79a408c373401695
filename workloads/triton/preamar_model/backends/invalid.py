"""Who is at fault? The request, not the server, where this is raised."""


class Invalid(Exception):
    """Its words go to the caller."""
