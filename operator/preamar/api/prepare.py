"""How raw text is prepared before the first attempt: what stays of it, and where the tokens go."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from preamar.api.fields.scalars import Fraction, Whole
from preamar.api.fields.uri import Target
from preamar.api.meta import SpecModel
from preamar.api.rules import Obeys, Rule
from preamar.api.shared import Resources


class Deduplicate(StrEnum):
    """Which documents count as one."""

    NONE = "None"
    EXACT = "Exact"
    MIN_HASH = "MinHash"


class Filters(SpecModel):
    """Which documents stay, by rules that know no language."""

    min_characters: Whole = Field(
        default=0, ge=0, le=1_000_000_000, description="Characters at least, such as 200."
    )
    max_characters: Whole = Field(
        default=0,
        ge=0,
        le=1_000_000_000,
        description="Characters at most, such as 1000000; 0 sets no bound.",
    )
    min_letter_ratio: Fraction = Field(
        default="0",
        description='Share of letters among what is no white space, at least, such as "0.6".',
    )
    max_repeated_line_ratio: Fraction = Field(
        default="1",
        description='Share of lines that came before in the document, at most, such as "0.3".',
    )
    rules = (
        Rule(
            "self.maxCharacters == 0 || self.minCharacters <= self.maxCharacters",
            lambda f: f.max_characters == 0 or f.min_characters <= f.max_characters,
            "must not be greater than filters.maxCharacters",
            ".minCharacters",
        ),
    )


class Prepare(SpecModel):
    """A Job that filters, deduplicates, tokenises and shards the sources once, before attempt 1."""

    target: Target = Field(
        description="The volume the tokens are written to, such as pvc://corpora/gpt."
    )
    workers: Whole = Field(
        default=1, ge=1, le=1000, description="Pods that prepare at the same time, such as 4."
    )
    resources: Resources = Field(
        default=Resources(), description="CPU, memory and other resources of each of these pods."
    )
    filters: Filters = Field(default=Filters(), description="Which documents stay.")
    deduplicate: Deduplicate = Field(
        default=Deduplicate.NONE,
        description="None, Exact (the same words) or MinHash (nearly the same words too).",
    )
    similarity: Annotated[
        Fraction,
        Obeys(
            Rule(
                "double(self) >= 0.7",
                lambda v: float(v) >= 0.7,
                "must be from 0.7 to 1: MinHash misses too many pairs below it",
            )
        ),
    ] = Field(
        default="0.8",
        description='Jaccard similarity of five-word shingles from which MinHash takes two documents for one, such as "0.8".',
    )
