"""Reads the server's instruments, as if they were here."""

import gpyro.core

gpyro.core.initClient()
for name in ("thermometer", "clock", "auckland"):
    instrument = gpyro.core.getProxyForURI("PYROLOC://localhost/" + name)
    print(name, "says", instrument.read())
