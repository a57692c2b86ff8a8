"""A chat room that calls its guests back."""

import gpyro.core
import gpyro.errors


class Room(gpyro.core.ObjBase):
    def __init__(self):
        gpyro.core.ObjBase.__init__(self)
        self.guests = {}

    def enter(self, name, guest):
        if name in self.guests:
            raise ValueError(f"there is a {name} already")
        guest._setOneway("hear")  # so that nobody waits for a slow guest
        self.guests[name] = guest
        self.say("(room)", f"{name} is here")

    def leave(self, name):
        if self.guests.pop(name, None) is not None:
            self.say("(room)", f"{name} has left")

    def say(self, name, text):
        gone = []
        for guest in list(self.guests):
            try:
                self.guests[guest].hear(name, text)
            except gpyro.errors.ProtocolError:  # it went without a word
                gone.append(guest)
        for guest in gone:
            self.leave(guest)


gpyro.core.initServer()
daemon = gpyro.core.Daemon()
print(daemon.connect(Room(), "room"), flush=True)
try:
    daemon.requestLoop()
except KeyboardInterrupt:
    pass
finally:
    daemon.shutdown(True)
