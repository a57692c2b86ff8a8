"""Counts on, whatever becomes of the server."""

import time

import gpyro.core
from gpyro.errors import ProtocolError

gpyro.core.initClient()
counter = gpyro.core.getProxyForURI("PYROLOC://localhost/counter")
lost = False

while True:
    try:
        number = counter.next()
    except ProtocolError as error:
        print("the server is gone; the call", "may have run" if error.may_have_run else "did not run", flush=True)
        lost = True
        counter.adapter.rebindURI(wait=0.1)
        continue  # the failed call is not repeated by itself: whether it may run twice is up to the program
    print("counted", number, flush=True)
    if lost:
        break
    time.sleep(0.2)
print("the server is back, and counts from the beginning")
