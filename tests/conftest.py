"""What all tests share."""

from tests import hunting

hunting.load()
