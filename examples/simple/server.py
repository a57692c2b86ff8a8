"""A remote object in each of the three patterns: derived, mixed, delegated."""

import gpyro.core


class Thermometer(gpyro.core.ObjBase):
    """Its class derives from ObjBase."""

    def __init__(self):
        gpyro.core.ObjBase.__init__(self)
        self.degrees = 18

    def read(self):
        return f"{self.degrees} degrees"


class Clock:
    """A class that knows nothing of gpyro."""

    def __init__(self, time):
        self.time = time

    def read(self):
        return f"it is {self.time}"


class RemoteClock(gpyro.core.ObjBase, Clock):
    """The same, mixed with ObjBase: both constructors are called."""

    def __init__(self, time):
        gpyro.core.ObjBase.__init__(self)
        Clock.__init__(self, time)


gpyro.core.initServer()
daemon = gpyro.core.Daemon()

delegating = gpyro.core.ObjBase()
delegating.delegateTo(Clock("midnight in Auckland"))

print(daemon.connect(Thermometer(), "thermometer"))
print(daemon.connect(RemoteClock("noon"), "clock"))
print(daemon.connect(delegating, "auckland"), flush=True)
try:
    daemon.requestLoop()
except KeyboardInterrupt:
    pass
finally:
    daemon.shutdown(True)
