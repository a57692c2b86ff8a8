"""Two users with their passphrases, and one who does not know his."""

import gpyro.core
from gpyro.errors import ConnectionDeniedError


def lettersFor(user, passphrase):
    letters = gpyro.core.getProxyForURI("PYROLOC://localhost/letters")
    letters._setIdentification((user, passphrase))
    return letters


gpyro.core.initClient()
ann = lettersFor("ann", "a is for apple")
bob = lettersFor("bob", "b is for banana")
ann.send("bob", "shall we have lunch?")
for sender, text in bob.fetch():
    print(f"bob reads from {sender}: {text}")

try:
    lettersFor("ann", "a is for ape").fetch()
except ConnectionDeniedError as error:
    print("not let in:", error)
