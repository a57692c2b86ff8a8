"""A guest of the room: hears what others say, and says what is typed.

python client.py NAME
"""

import sys

import gpyro.core

name = sys.argv[1]
room = gpyro.core.getProxyForURI("PYROLOC://localhost/room")
typing = True


class Guest(gpyro.core.CallbackObjBase):
    """Called back by the room. An exception in a method would be told here, too."""

    def hear(self, name, text):
        print(f"{name}: {text}", flush=True)


def keyboard(ready):
    global typing
    for file in ready:
        text = file.readline().strip()
        if text:
            room.say(name, text)
        else:
            typing = False


gpyro.core.initServer(storageCheck=0)
# The guest is an object of this process, so this process needs a daemon, at any port.
daemon = gpyro.core.Daemon(port=0, norange=1)
guest = Guest()
daemon.connect(guest)
daemon.start()
room.enter(name, guest.getProxy())
try:
    # One loop for calls that arrive and for what is typed; an empty line ends it.
    daemon.requestLoop(lambda: typing, others=[sys.stdin], callback=keyboard)
except KeyboardInterrupt:
    pass
finally:
    room.leave(name)
    daemon.shutdown()
