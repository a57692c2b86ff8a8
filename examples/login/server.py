"""A server that wants to know who calls, and from where."""

import gpyro.core
from gpyro.constants import DENIED_HOSTBLOCKED, DENIED_SECURITY
from gpyro.protocol import DefaultConnValidator

USERS = {"ann": "a is for apple", "bob": "b is for banana"}
NEIGHBOURS = ("127.", "10.", "::1")


class Doorman(DefaultConnValidator):
    """Judges each new connection."""

    def acceptHost(self, daemon, connection):
        if connection.addr[0].startswith(NEIGHBOURS):
            return 1, 0
        return 0, DENIED_HOSTBLOCKED

    def acceptIdentification(self, daemon, connection, token, challenge):
        # None, for a user who is not known, is never proved.
        if token.proves(USERS.get(token.user)):
            connection.userName = token.user  # methods find it on their caller
            return 1, 0
        return 0, DENIED_SECURITY


class Letters(gpyro.core.ObjBase):
    def __init__(self):
        gpyro.core.ObjBase.__init__(self)
        self.boxes = {}

    def send(self, to, text):
        sender = self.getLocalStorage().caller.userName
        self.boxes.setdefault(to, []).append((sender, text))

    def fetch(self):
        return self.boxes.pop(self.getLocalStorage().caller.userName, [])


gpyro.core.initServer()
daemon = gpyro.core.Daemon()
daemon.setNewConnectionValidator(Doorman())
print(daemon.connect(Letters(), "letters"), flush=True)
try:
    daemon.requestLoop()
except KeyboardInterrupt:
    pass
finally:
    daemon.shutdown(True)
