"""Runs every function of a script whose name is a claim, and tells which do not hold."""

import os
import sys
import traceback

URL = os.environ["GATEWAY_URL"]
TOKEN = os.environ["GATEWAY_TOKEN"]


def raised(kind, call):
    """The error of this kind that the call raises; anything else is a failure."""
    try:
        answer = call()
    except kind as error:
        return error
    raise AssertionError(f"{kind.__name__} was expected, but it answered {answer!r}")


def check(script):
    claims = {name[6:]: f for name, f in script.items() if name.startswith("claim_")}
    broken = 0
    for name, claim in claims.items():
        try:
            claim()
        except Exception:
            broken += 1
            print(f"BROKEN {name}")
            traceback.print_exc(file=sys.stdout)
        else:
            print(f"holds  {name}")
    if broken or not claims:
        sys.exit(f"{broken} of {len(claims)} claims are broken")
    print(f"{len(claims)} claims hold")
