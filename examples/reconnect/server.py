"""A counter whose server may be ended and started again."""

import gpyro.core


class Counter(gpyro.core.ObjBase):
    def __init__(self):
        gpyro.core.ObjBase.__init__(self)
        self.count = 0

    def next(self):
        self.count += 1
        return self.count


gpyro.core.initServer()
# Always the same port, or clients would not find it again; PYRO_PORT says which, 7766 if nobody does.
daemon = gpyro.core.Daemon(port=gpyro.config.PYRO_PORT, norange=1)
print(daemon.connect(Counter(), "counter"), flush=True)
try:
    daemon.requestLoop()
except KeyboardInterrupt:
    pass
finally:
    daemon.shutdown(True)
