"""An account book whose attributes are read and written from elsewhere."""

import gpyro.core


class Book(gpyro.core.ObjBase):
    def __init__(self):
        gpyro.core.ObjBase.__init__(self)
        self.sum = 0
        self.entries = {"rent": [400]}

    def add(self, title, amount):
        self.entries.setdefault(title, []).append(amount)

    def entry(self, title):
        return self.entries[title]


gpyro.core.initServer()
daemon = gpyro.core.Daemon()
print(daemon.connect(Book(), "book"), flush=True)
try:
    daemon.requestLoop()
except KeyboardInterrupt:
    pass
finally:
    daemon.shutdown(True)
