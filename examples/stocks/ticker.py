r"""Prints quotes until the market closes.

python ticker.py [--slow] SYMBOL...             such as food.bread
python ticker.py [--slow] --match PATTERN...    such as 'energy\.' or '.*\.wheels'
"""

import contextlib
import sys
import time

from gpyro.eventsvc import Subscriber


class Ticker(Subscriber):
    seen = lost = 0
    pause = 0.0

    def event(self, event):
        if event.subject == "closing":
            print(f"the market is closed: {self.seen} quotes seen, {self.lost} missed", flush=True)
            self.abort()
            return
        self.seen += 1
        time.sleep(self.pause)
        print(f"{event.subject} {event.msg['price']:.2f} ({event.msg['change']:+.2f})", flush=True)

    def missed(self, gap):
        """Called where the events would have come."""
        self.lost += gap.count or 0  # None: nobody knows how many
        print(gap, flush=True)


arguments = sys.argv[1:]
options = {word for word in arguments if word.startswith("--")}
subjects = [word for word in arguments if word not in options]
if not subjects or options - {"--slow", "--match"}:
    sys.exit(__doc__)

ticker = Ticker(esURI="PYROLOC://localhost/:Pyro.EventService")
ticker.setThreading(0)  # the closing comes after all quotes, not beside those of other subjects
if "--slow" in options:
    ticker.pause = 0.1
    # Of quotes the newest matter. Neither the market nor other tickers wait for this one.
    ticker.set_queue("oldest", events=5)
if "--match" in options:
    ticker.subscribeMatch(subjects)
else:
    ticker.subscribe(subjects)
ticker.subscribe("closing")
print("listening", flush=True)
with contextlib.suppress(KeyboardInterrupt):
    ticker.listen()
