"""Which names a resource may have, and what of it never changes.

Child names and pod host names add suffixes, so a resource's name is a DNS-1035 label of at most
50 characters.
"""

import re

from preamar.api.rules import Rule, TransitionRule

_NAME = "^[a-z]([-a-z0-9]*[a-z0-9])?$"

NAME_RULES = (
    Rule(
        "size(self.metadata.name) <= 50",
        lambda r: len(r.metadata.name) <= 50,
        "metadata.name must not be longer than 50 characters",
    ),
    Rule(
        f"self.metadata.name.matches('{_NAME}')",
        lambda r: re.fullmatch(_NAME[1:-1], r.metadata.name) is not None,
        "metadata.name must be small letters, digits and '-', start with a letter and not end with '-'",
    ),
)


MODEL_NAME_STAYS = TransitionRule(
    "(has(self.spec.model.name) ? self.spec.model.name : self.metadata.name)"
    " == (has(oldSelf.spec.model.name) ? oldSelf.spec.model.name : oldSelf.metadata.name)",
    lambda new, old: bool(new.model_name == old.model_name),
    "must not change: callers use it. Make a second InferenceService instead",
    ".spec.model.name",
)
