"""Reads and writes attributes through an attribute proxy, and steps into its trap."""

import gpyro.core

gpyro.core.initClient()
book = gpyro.core.getAttrProxyForURI("PYROLOC://localhost/book")

for amount in (10, 20, 30):
    book.sum = book.sum + amount
print("the sum is", book.sum)

# An attribute arrives as a copy, and what follows happens to the copy.
book.entries["rent"].append(450)
print("rent, after changing a copy:", book.entry("rent"))

# So what is to happen on the server belongs into a method.
book.add("rent", 450)
print("rent, after a method did it:", book.entry("rent"))

# And reading one item of an attribute fetches all of it, where a method fetches one.
print("all of", list(book.entries), "came for", book.entries["rent"])

plain = gpyro.core.getProxyForURI("PYROLOC://localhost/book")
print("for a plain proxy every name is a method:", callable(plain.sum))
