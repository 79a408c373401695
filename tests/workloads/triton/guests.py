"""How do tests share one server? It is started as pods start it, but that it takes models in later too,
from whoever knows the key that closes its administration: here, the tests.
"""

import http.client
import shutil
import sys
from pathlib import Path

from running import CALL_SECONDS, Running

KEY = "known-to-tests-alone"
OPEN = f"""
import secrets, sys
secrets.token_urlsafe = lambda _: {KEY!r}
from preamar_model.serve.command import main
sys.exit(main(["--model-control-mode=explicit", "--load-model=*"]))
"""


class Host(Running):
    """A server that stays for the whole session. A model whose process ends would end it."""

    COMMAND = (sys.executable, "-c", OPEN)

    def __init__(self, models: Path, place: Path) -> None:
        super().__init__(models, place)
        self.models = models

    def invite(self, built: Path, *names: str) -> None:
        """Take what was built into the repository, and load these of it in turn; for good, so that
        no other test may call a model as they are called."""
        for folder in built.iterdir():
            assert not (self.models / folder.name).exists(), f"{folder.name} is here already"
            shutil.move(folder, self.models)
        for name in names:
            self._load(name)

    def _load(self, name: str) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.http, timeout=2 * CALL_SECONDS)
        try:
            path = f"/v2/repository/models/{name}/load"
            connection.request("POST", path, "{}", {"x-preamar-closed": KEY})
            answer = connection.getresponse()
            said = answer.read().decode()
            assert answer.status == 200, f"{said}\n{self.log.read_text()[-3000:]}"
        finally:
            connection.close()
