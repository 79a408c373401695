"""What a single value may look like: names, decimals, quantities, times, images.

Every pattern is RE2 and every text is bounded, because the API server judges with the same
words. Decimals stay text from end to end: no float ever touches money.
"""

import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, StrictBool, StrictInt, StrictStr, WithJsonSchema

from preamar.api.rules import Obeys, Rule


def _whole(value: Any) -> Any:
    # JSON knows one kind of number: to the API server 1.0 is a whole one.
    return int(value) if isinstance(value, float) and value.is_integer() else value


Whole = Annotated[StrictInt, BeforeValidator(_whole)]
Flag = StrictBool

Label63 = Annotated[
    StrictStr, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
]
"""A DNS-1123 label, such as the name of a claim or a namespace."""

ObjectName = Annotated[
    StrictStr,
    Field(
        min_length=1,
        max_length=253,
        pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
    ),
]
"""A DNS-1123 subdomain, such as the name of a Secret."""

ModelName = Annotated[
    StrictStr,
    Field(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$"),
]
"""The name callers put in a request. No slash, since it is part of URLs."""

Image = Annotated[
    StrictStr,
    Field(min_length=1, max_length=512, pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/@-]*$"),
]
Digest = Annotated[StrictStr, Field(max_length=71, pattern=r"^sha256:[0-9a-f]{64}$")]
Currency = Annotated[StrictStr, Field(max_length=3, pattern=r"^[A-Z]{3}$")]
Sentence = Annotated[StrictStr, Field(max_length=4096)]
ShortText = Annotated[StrictStr, Field(max_length=256)]
LabelValue = Annotated[
    StrictStr, Field(max_length=63, pattern=r"^([A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?)?$")
]
LabelKey = Annotated[
    StrictStr,
    Field(
        min_length=1,
        max_length=253,
        pattern=r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$",
    ),
]
ResourceName = LabelKey

Amount = Annotated[StrictStr, Field(max_length=25, pattern=r"^[0-9]{1,12}(\.[0-9]{1,12})?$")]
"""A decimal that is not negative, as text."""

Signed = Annotated[StrictStr, Field(max_length=40, pattern=r"^-?[0-9]{1,18}(\.[0-9]{1,18})?$")]
"""A decimal of either sign, as text. Only status uses it."""

Price = Annotated[StrictStr, Field(max_length=16, pattern=r"^[0-9]{1,9}(\.[0-9]{1,6})?$")]
"""Money with at most six decimals, so that price times tokens is exact."""

Fraction = Annotated[
    StrictStr, Field(max_length=14, pattern=r"^(0(\.[0-9]{1,12})?|1(\.0{1,12})?)$")
]
"""From 0 to 1, as text."""

Above0 = Obeys(
    Rule("double(self) > 0.0", lambda v: Decimal(v) > 0, "must be greater than 0"),
)


MOST = 10**15 - 1


def _quantity_text(value: Any) -> Any:
    # Kubernetes lets people write `cpu: 1`; a bool is an int to Python and to nobody else.
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value) if 0 <= value <= MOST else value
    return value


QUANTITY = r"^[0-9]{1,15}(\.[0-9]{1,9})?(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$"
Quantity = Annotated[
    StrictStr,
    Field(max_length=27, pattern=QUANTITY),
    BeforeValidator(_quantity_text),
    WithJsonSchema(
        {
            "x-kubernetes-int-or-string": True,
            "pattern": QUANTITY,
            "maxLength": 27,
            "minimum": 0,
            "maximum": MOST,
        }
    ),
]
"""An amount of a resource, such as 100m, 2 or 4Gi; whole numbers may be written bare."""

TIME = (
    r"^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
    r"T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,6})?Z$"
)


def parse_time(value: str) -> datetime:
    """An RFC 3339 time in UTC as a datetime; ValueError if there is no such time."""
    return datetime.fromisoformat(value).astimezone(UTC)


def _exists(value: str) -> bool:
    if not re.match(TIME, value):
        return False
    try:
        return parse_time(value).year >= 2000
    except ValueError:
        return False


Time = Annotated[
    StrictStr,
    Field(max_length=32, pattern=TIME),
    Obeys(
        Rule(
            "timestamp(self) >= timestamp('2000-01-01T00:00:00Z')",
            _exists,
            "must be a time that exists, in UTC, such as 2027-01-31T18:00:00Z",
        )
    ),
]
"""RFC 3339 in UTC."""

ObservedTime = Annotated[StrictStr, Field(max_length=40)]
"""A time that Kubernetes or the operator wrote."""
