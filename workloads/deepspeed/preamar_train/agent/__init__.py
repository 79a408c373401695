"""PID 1 of a trainer's pod: starts ranks, passes the stop on, and says how it ended."""
