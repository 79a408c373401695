"""In which steps are seconds counted that gateways tell and the operator judges by?"""

BOUNDS = tuple(0.001 * 2.0 ** (n / 2) for n in range(36))
"""Upper ends of the buckets in seconds: 1 ms to about three minutes, each 1.41 times the last. What takes
longer is in one more."""
