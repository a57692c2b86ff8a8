"""A guest: hears what is said in the rooms that it is in, and says what is typed in the one it entered last.

python client.py NAME ROOM

/enter ROOM, /leave ROOM and /guests do what they say; an empty line, or the end of the input, is the end.
"""

import contextlib
import sys
import threading

import gpyro.core
from gpyro.errors import ProtocolError
from gpyro.eventsvc import Subscriber


def show(text):
    sys.stdout.write(f"{text}\n")  # at once with its end, since two threads speak
    sys.stdout.flush()


class Ears(Subscriber):
    def event(self, event):
        name, text = event.msg
        show(f"[{event.subject.removeprefix('room.')}] {name}: {text}")


class Guest:
    def __init__(self, name):
        self.name = name
        self.rooms = []
        self.box = gpyro.core.getProxyForURI("PYROLOC://localhost/chatbox")
        self.ears = Ears(esURI=self.box.event_server())

    def enter(self, room):
        guests = self.box.enter(room, self.name)
        self.ears.subscribe(f"room.{room}")
        self.rooms.append(room)
        show(f"you are in {room}, with {', '.join(guests)}")

    def leave(self, room):
        self.ears.unsubscribe(f"room.{room}")
        self.box.leave(room, self.name)
        self.rooms.remove(room)
        show(f"you have left {room}")

    def obey(self, line):
        command, *rooms = line.split()
        if command == "/enter" and rooms and rooms[0] not in self.rooms:
            self.enter(rooms[0])
        elif command == "/leave" and rooms and rooms[0] in self.rooms:
            self.leave(rooms[0])
        elif command == "/guests" and self.rooms:
            show(" ".join(self.box.guests(self.rooms[-1])))
        elif not command.startswith("/") and self.rooms:
            self.box.say(self.rooms[-1], self.name, line)
        else:
            show("you cannot do that now")


if len(sys.argv) != 3:
    sys.exit(__doc__)
try:
    guest = Guest(sys.argv[1])
    guest.enter(sys.argv[2])
except (ValueError, ProtocolError) as error:  # of the chat box; it is not there
    sys.exit(str(error))
# Waiting for the keyboard holds this thread, so events come in another one.
listening = threading.Thread(target=guest.ears.listen, daemon=True)
listening.start()
try:
    for line in sys.stdin:
        if not line.strip():
            break
        try:
            guest.obey(line.strip())
        except (ValueError, ProtocolError) as error:
            show(str(error))
except KeyboardInterrupt:
    pass
finally:
    with contextlib.suppress(ProtocolError):  # where there is no chat box, there is nothing to leave
        for room in list(guest.rooms):
            guest.leave(room)
    guest.ears.abort()
    listening.join()
