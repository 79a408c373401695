"""What a hunt does with a life that went wrong."""

import pytest

from tests.hunting import HUNTS
from tests.life.kept import keep


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if HUNTS and call.when == "call" and call.excinfo and hasattr(call.excinfo.value, "__notes__"):
        report.sections.append(("kept", str(keep(call.excinfo.value))))
    return report
