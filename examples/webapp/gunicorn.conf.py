"""What gunicorn reads when it is started in this directory."""

# gunicorn's gevent workers patch themselves, after they were forked. With --preload, however, the application is
# imported before that, in the master: locks made then are real ones, and one greenlet that waits for a real lock holds
# the whole worker. Patched here, in the master and before all else, everything is the same with --preload and without.
from gevent import monkey

monkey.patch_all()

bind = "127.0.0.1:8000"
worker_class = "gevent"
workers = 2
graceful_timeout = 30  # seconds that running requests get at the end
