"""A server that keeps a basket for each client."""

import gpyro.core

PRICES = {"apple": 3, "pear": 4}


class Shop(gpyro.core.ObjBase):
    """One object for all; what belongs to one client is on the storage of its session."""

    def put(self, article):
        basket = self.getLocalStorage().basket
        basket.append(article)
        return len(basket)

    def pay(self):
        storage = self.getLocalStorage()
        bill = sum(PRICES[article] for article in storage.basket)
        storage.basket.clear()
        return bill


def prepare(storage):
    """Called once for each session, before its first call."""
    storage.basket = []
    print("a new client, from", storage.caller.addr[0], flush=True)


gpyro.core.initServer()
daemon = gpyro.core.Daemon()
daemon.setInitTLS(prepare)
print(daemon.connect(Shop(), "shop"), flush=True)
try:
    daemon.requestLoop()
except KeyboardInterrupt:
    pass
finally:
    daemon.shutdown(True)
