from __future__ import annotations

import os
import socket
import stat

import pytest

from gpyro import core
from gpyro.errors import DaemonError
from gpyro.net import unix
from tests.programs import program
from tests.support import serving

ASK = """
    import os, sys
    from gpyro import core
    pid, uid, gid = core.getProxyForURI(sys.argv[1]).who()
    print(pid == os.getpid(), uid == os.getuid(), gid == os.getgid())
    """


class Who(core.ObjBase):
    def who(self):
        caller = self.getLocalStorage().caller
        return caller.pid, caller.uid, caller.gid


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "daemon")


def listening(path):
    sock, file = unix.bind(path)
    sock.listen(1)
    return sock, file


def test_the_file_is_private_and_goes_with_the_daemon(path):
    sock, file = listening(path)
    try:
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
        assert stat.S_ISSOCK(os.stat(path).st_mode)
    finally:
        sock.close()
    file.remove()
    assert not os.path.exists(path)
    file.remove()


def test_a_wide_umask_does_not_open_it(path):
    before = os.umask(0)
    try:
        sock, file = listening(path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    sock.close()
    file.remove()


def test_what_a_dead_daemon_left_is_replaced(path):
    sock, _ = listening(path)
    sock.close()
    assert os.path.exists(path)
    sock, file = listening(path)
    sock.close()
    file.remove()


def test_a_live_daemon_is_left_alone(path):
    sock, file = listening(path)
    before = os.stat(path).st_ino
    with pytest.raises(DaemonError, match=f"another daemon listens on the Unix socket {path}"):
        unix.bind(path)
    assert os.stat(path).st_ino == before
    sock.close()
    file.remove()


def test_a_live_daemon_with_a_full_queue_is_left_alone(path):
    sock, file = unix.bind(path)
    sock.listen(0)
    clients = []
    try:
        while True:
            client = socket.socket(socket.AF_UNIX)
            client.setblocking(False)
            clients.append(client)
            client.connect(path)
    except BlockingIOError:
        pass
    with pytest.raises(DaemonError, match="another daemon listens"):
        unix.bind(path)
    for client in clients:
        client.close()
    sock.close()
    file.remove()


def test_another_kind_of_file_is_left_alone(path):
    with open(path, "w") as file:
        file.write("precious")
    with pytest.raises(DaemonError, match="is no socket"):
        unix.bind(path)
    with open(path) as file:
        assert file.read() == "precious"


@pytest.mark.parametrize(("name", "text"), [("no/such/folder", "No such file"), ("x" * 120, "too long")])
def test_an_impossible_path_is_a_clear_error(tmp_path, name, text):
    with pytest.raises(DaemonError, match=f"Unix socket .*{text}"):
        unix.bind(str(tmp_path / name))


def test_a_file_that_somebody_else_made_meanwhile_is_not_removed(path):
    sock, file = listening(path)
    os.unlink(path)
    other, other_file = listening(path)
    file.remove()
    assert os.path.exists(path)
    for end in (sock, other):
        end.close()
    other_file.remove()
    assert not os.path.exists(path)


def test_calls_go_through_and_the_caller_is_known_to_the_kernel(path):
    obj = Who()
    with serving(obj, host=f"./u:{path}", port=0) as daemon:
        uri = str(daemon.getProxyForObj(obj).URI)
        with program(ASK, uri) as client:
            assert client.end() == (0, "True True True\n", "")
    assert not os.path.exists(path)


def test_a_daemon_in_use_and_one_that_is_gone(path):
    obj = Who()
    with serving(obj, host=f"./u:{path}"), pytest.raises(DaemonError, match="another daemon"):
        core.Daemon(host=f"./u:{path}")
    with serving(obj, host=f"./u:{path}") as daemon:
        assert daemon.getProxyForObj(obj).who()[0] == os.getpid()
