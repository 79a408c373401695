"""A script that ends well also exits well: gloo's threads come to rest before the interpreter ends.

Such a thread drops what it holds of an exchange after it has said that the exchange is over. Where
that is the last reference to a tensor it must wait for Python; one that does so while Python before
3.14 shuts down is made to exit in the middle of C++, which aborts the process ("terminate called
without an active exception") and throws away a training that was done. Ending the process group
first is worse: it waits for these threads without letting them have Python.
"""

import atexit
import sys
import time

REST_SECONDS = 0.5


def let_threads_rest() -> None:
    """Lets other threads run; nothing new is exchanged any more."""
    torch = sys.modules.get("torch.distributed")
    if torch is not None and torch.is_available() and torch.is_initialized():
        time.sleep(REST_SECONDS)


atexit.register(let_threads_rest)
