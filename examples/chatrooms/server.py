"""A chat box: knows who is in which room, and has an event server tell them what is said there."""

import gpyro.core
from gpyro.eventsvc import EventServiceStarter, Publisher


class ChatBox(gpyro.core.SynchronizedObjBase):
    def __init__(self, events):
        gpyro.core.SynchronizedObjBase.__init__(self)
        self.events = events
        self.publisher = Publisher(esURI=events)
        self.rooms = {}  # the guests of each: their names, and who called

    def event_server(self):
        return str(self.events)

    def guests(self, room):
        """Who is there, without those whose programs are gone."""
        guests = self.rooms.get(room, {})
        for name in [name for name, caller in guests.items() if not caller.connected]:
            self.leave(room, name)
        return sorted(guests)

    def enter(self, room, name):
        if name in self.guests(room):
            raise ValueError(f"there is a {name} in {room} already")
        self.rooms.setdefault(room, {})[name] = self.getLocalStorage().caller
        self.say(room, name, "is here")
        return self.guests(room)

    def leave(self, room, name):
        if self.rooms.get(room, {}).pop(name, None) is not None:
            self.say(room, name, "has left")

    def say(self, room, name, text):
        self.publisher.publish(f"room.{room}", (name, text))


gpyro.core.initServer()
daemon = gpyro.core.Daemon()
starter = EventServiceStarter()
starter.begin(port=0, useNameServer=0)  # at any port: guests ask the chat box for it
print(daemon.connect(ChatBox(starter.uri), "chatbox"), flush=True)
try:
    daemon.requestLoop()
except KeyboardInterrupt:
    pass
finally:
    daemon.stop()
    starter.stop()
