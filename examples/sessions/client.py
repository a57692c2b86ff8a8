"""Two clients in one process: each proxy has a session of its own."""

import copy

import gpyro.core

gpyro.core.initClient()
ann = gpyro.core.getProxyForURI("PYROLOC://localhost/shop")
bob = copy.copy(ann)

ann.put("apple")
bob.put("pear")
print("ann's basket has", ann.put("pear"))
print("bob's basket has", bob.put("pear"))
print("ann pays", ann.pay())

bob._release()  # ends the session, and the basket with it
print("bob's new basket has", bob.put("apple"))
