"""What did gzip or deflate pack? Within bounds, for whoever packed it may mean harm."""

import zlib

EITHER = zlib.MAX_WBITS | 32
"""Of zlib: the beginning of the data says which of the two it is."""


class UnpackedTooLarge(ValueError):
    """There is more in it than is taken."""


def unpacked(data: bytes, most: int) -> bytes:
    """At most that many bytes. Raises ``UnpackedTooLarge``, and ``ValueError`` for what is cut or neither."""
    reader = zlib.decompressobj(wbits=EITHER)
    try:
        found = reader.decompress(data, most)
    except zlib.error as error:
        raise ValueError("it cannot be unpacked") from error
    if not reader.eof:
        raise UnpackedTooLarge("it is too large") if len(found) >= most else ValueError("it is cut")
    return found
