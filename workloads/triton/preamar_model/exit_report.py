"""How does a command end? With its last words, and an exit code that says whether to try again."""

import json
import sys
import time
from collections.abc import Callable, Mapping

from preamar_model.refusal import EXIT_REFUSED, Refusal, last_words, sentence

Told = tuple[str, Mapping[str, object]]


def carried_out(act: Callable[[], Told], done: str, failed: str) -> int:
    """0 where ``act`` returns the model's name and what to tell of it; 64 for a `Refusal`, which the
    user can mend; 1 for anything else. ``done`` and ``failed`` begin the sentences."""
    began = time.monotonic()
    try:
        name, told = act()
    except Refusal as refusal:
        last_words(refusal.as_json())
        print(f"refused: {refusal.as_json()}", file=sys.stderr)
        return EXIT_REFUSED
    except Exception as error:  # noqa: BLE001 - the last frame: everything else is the world's
        text = sentence(f"{failed}: {type(error).__name__}: {error}")
        last_words(text)
        print(text, file=sys.stderr)
        return 1
    text = json.dumps(told)
    last_words(text)
    print(f"{done} {name} in {time.monotonic() - began:.1f} s: {text}", file=sys.stderr)
    return 0
