from gpyro import core
from tests.support import serving, uri_of
import gevent

class Echo(core.ObjBase):
    def echo(self, value):
        return value

def test_echo():
    obj = Echo()
    with serving(obj) as daemon:
        proxy = core.getProxyForURI(uri_of(daemon, obj))
        assert proxy.echo((1, 2)) == (1, 2)
        assert sorted(g.get() for g in [gevent.spawn(proxy.echo, i) for i in range(1000)]) == list(range(1000))
