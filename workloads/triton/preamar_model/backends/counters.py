"""How many tokens has this model read and made? Counted here, at the model, and told with Triton's own
metrics: a witness that is independent of whoever charges for them.
"""

import triton_python_backend_utils as utils

NAME = "preamar_model_tokens_total"


class Counters:
    """Counters of one model; those of all its instances are the same."""

    def __init__(self, args: dict[str, str]) -> None:
        self.family = utils.MetricFamily(
            name=NAME,
            description="Tokens that the model has read (input) and made (output).",
            kind=utils.MetricFamily.COUNTER,
        )
        self.input, self.output = (
            self.family.Metric(
                labels={"model": args["model_name"], "version": args["model_version"], "kind": kind}
            )
            for kind in ("input", "output")
        )

    def add(self, given: int, made: int = 0) -> None:
        """Of one request, or of several that were answered together."""
        if given:
            self.input.increment(given)
        if made:
            self.output.increment(made)
