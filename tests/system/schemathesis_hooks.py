"""What schemathesis leaves out as it asks the services."""

from typing import Any

import schemathesis


@schemathesis.hook
def before_call(context: schemathesis.HookContext, case: schemathesis.Case[Any], kwargs: dict[str, Any]) -> None:
    """Ask for no position that nobody was ever given: the answer is 503 as documented, but after five seconds."""
    at_least = str(case.query.get("at_least", ""))
    if at_least.isdecimal() and 1 < int(at_least) <= 2**62:
        case.query["at_least"] = 1
