"""A darkroom: developing takes a while, and nobody has to wait for it."""

import gevent

import gpyro.core


class Darkroom(gpyro.core.ObjBase):
    def __init__(self):
        gpyro.core.ObjBase.__init__(self)
        self.pictures = []

    def develop(self, film):
        for number in range(3):
            gevent.sleep(0.1)
            self.pictures.append(f"{film} {number}")

    def ready(self):
        return self.pictures


gpyro.core.initServer()
daemon = gpyro.core.Daemon()
print(daemon.connect(Darkroom(), "darkroom"), flush=True)
try:
    daemon.requestLoop()
except KeyboardInterrupt:
    pass
finally:
    daemon.shutdown(True)
