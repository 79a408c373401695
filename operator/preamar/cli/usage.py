"""What does a command raise whose arguments make no sense?"""


class BadUsage(Exception):
    """What the user asked for makes no sense; the message says why."""
