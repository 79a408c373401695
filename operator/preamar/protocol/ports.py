"""Where do our processes listen, as others must know to find them? No flag moves one end alone.

Ports of model and training pods are fixed: each pod has an address of its own. The gateway finds model
servers and the operator by the names of ports in EndpointSlices; the numbers count where one names none.
"""

MODEL_HTTP, MODEL_GRPC, MODEL_METRICS = 8000, 8001, 8002
GROUP, GROUP_HEALTH = 8003, 8004
"""Of a model server's workers, in a replica of several pods."""
MASTER, AGENT = 29500, 29400
"""Of rank 0, where ranks meet, and of its agent."""
DEMAND = 8091
"""Of the operator, for what gateways report."""
PROBES = 8090
"""Of the operator, for probes and metrics."""
GATEWAY_HTTP = 8080
"""Of the gateway's data API."""
