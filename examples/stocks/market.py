"""A stock market: publishes what the stocks of its companies cost, then the end of the day.

python market.py [ROUNDS]
"""

import random
import sys

from gpyro.eventsvc import Publisher

COMPANIES = {
    "energy": ("coal", "sun", "wind"),
    "food": ("apples", "bread", "cheese"),
    "machines": ("cogs", "pumps", "wheels"),
}
rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 20
prices = {f"{branch}.{name}": 100.0 for branch, names in COMPANIES.items() for name in names}

publisher = Publisher(esURI="PYROLOC://localhost/:Pyro.EventService")
for _ in range(rounds):
    for symbol in prices:
        change = random.choice((-0.5, -0.25, 0.25, 0.5))
        prices[symbol] += change
        publisher.publish(symbol, {"price": prices[symbol], "change": change})
publisher.publish("closing", None)
print("published", rounds * len(prices), "quotes")
