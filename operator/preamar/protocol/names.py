"""How is a Deployment called whose pods the gateway must tell from the rest of a service's?

A revision on trial has a Deployment of its own beside that of the one before, and both are reached by
the same Service. An EndpointSlice says no more of a pod than its name.
"""

CANARY_SUFFIX = "-canary"
"""After the service's name, of the Deployment with the revision on trial."""


def is_canary(pod: str, service: str) -> bool:
    """Whether a pod of that service is one of that Deployment's."""
    # Kubernetes cuts the name of a Deployment's pod at 58 characters: a service has 50 at most.
    return pod.startswith(f"{service}{CANARY_SUFFIX}-")
