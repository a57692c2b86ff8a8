from __future__ import annotations

import contextlib
import logging
import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest
from greenlet import greenlet

from gpyro import core, logs
from gpyro.errors import ConfigurationError
from gpyro.logs import LibraryLog, Log, SystemLogger, UserLogger, thread_name
from gpyro.settings import Config
from tests.support import run_python, serving, uri_of

STAMP = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    fresh = Config({"PYRO_STORAGE": str(tmp_path)})
    monkeypatch.setattr(logs, "config", fresh)
    return fresh


@pytest.fixture(autouse=True)
def _no_complaints() -> Iterator[None]:
    yield
    for log in (SystemLogger, UserLogger):
        log._file._complained = ("", 0.0)


def lines(config: Config) -> list[str]:
    path = Path(config.PYRO_LOGFILE)
    return path.read_text().splitlines() if path.exists() else []


def texts(config: Config) -> list[str]:
    """The lines from their tags on."""
    return [line.partition("] ** ")[2] for line in lines(config)]


# ---- lines


def test_the_line_format(config: Config) -> None:
    config.PYRO_TRACELEVEL = 3
    Log.msg("daemon", "is", 1, ("a", None))
    Log.warn("daemon", "full")
    Log.error("daemon", "over")
    found = lines(config)
    assert len(found) == 3
    head = rf"{STAMP} \[{os.getpid()}:MainThread\] \*\* "
    assert re.fullmatch(head + r"NOTE \*\* daemon \*\* is 1 \('a', None\)", found[0])
    assert re.fullmatch(head + r"WARN \*\* daemon \*\* full", found[1])
    assert re.fullmatch(head + r"ERR! \*\* daemon \*\* over", found[2])


def test_a_single_argument_is_the_message(config: Config) -> None:
    config.PYRO_TRACELEVEL = 3
    Log.msg("all is well")
    Log.warn(("%s", 5))
    Log.error("here", "100 %")
    assert texts(config) == ["NOTE ** N/A ** all is well", "WARN ** N/A ** ('%s', 5)", "ERR! ** here ** 100 %"]


@pytest.mark.parametrize(
    ("level", "tags"), [(0, []), (1, ["ERR!"]), (2, ["WARN", "ERR!"]), (3, ["NOTE", "WARN", "ERR!"])]
)
def test_levels(config: Config, level: int, tags: list[str]) -> None:
    config.PYRO_TRACELEVEL = level
    for say in (Log.msg, Log.warn, Log.error):
        say("x", "y")
    assert [text[:4] for text in texts(config)] == tags


def test_levels_and_files_are_looked_at_each_time(config: Config, tmp_path: Path) -> None:
    user = UserLogger()
    for number, level in enumerate((0, 3, 0, 3)):
        config.PYRO_TRACELEVEL = level
        Log.msg("x", number)
    config.PYRO_LOGFILE = "other"
    Log.msg("x", 4)
    config.PYRO_STORAGE = tmp_path / "sub"  # type: ignore[assignment]
    (tmp_path / "sub").mkdir()
    Log.msg("x", 5)
    user.msg("x", "not asked for")
    config.PYRO_USER_TRACELEVEL = 3
    user.msg("x", "asked for")
    assert [line[-1] for line in (tmp_path / "Pyro_log").read_text().splitlines()] == ["1", "3"]
    assert (tmp_path / "other").read_text().endswith(" ** x ** 4\n")
    assert (tmp_path / "sub/other").read_text().endswith(" ** x ** 5\n")
    assert (tmp_path / "sub/Pyro_userlog").read_text().endswith(" ** NOTE ** x ** asked for\n")
    assert sorted(os.listdir(tmp_path)) == ["Pyro_log", "other", "sub"]


def test_raw_writes_what_it_is_given_at_any_level(config: Config, tmp_path: Path) -> None:
    Log.raw("a\n\x1bb")
    Log.raw("c")
    UserLogger().raw("d")
    assert (tmp_path / "Pyro_log").read_text() == "a\n\x1bbc"
    assert (tmp_path / "Pyro_userlog").read_text() == "d"


def test_texts_of_all_sorts(config: Config) -> None:
    class Bad:
        def __str__(self) -> str:
            raise ZeroDivisionError

    config.PYRO_TRACELEVEL = 3
    Log.msg("a\x1b[31m", "b\x00", "\xe4\u20ac", "\udcff", "tab\t.")
    Log.msg("of", Bad())
    Log.msg("two\nlines")
    assert texts(config) == [
        r"NOTE ** a\x1b[31m ** b\x00 " + "\xe4\u20ac" + r" \udcff tab" + "\t.",
        "NOTE ** of ** <Bad, whose str raised ZeroDivisionError>",
        "NOTE ** N/A ** two",
        "",
    ]


# ---- what goes wrong


def test_a_file_that_cannot_be_written_is_told_of_once(
    config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(logs.time, "monotonic", lambda: now)
    config.PYRO_TRACELEVEL = 3
    config.PYRO_LOGFILE = "gone/log"
    for _ in range(5):
        Log.msg("x")
    said = f"gpyro: cannot write the log {tmp_path}/gone/log (PYRO_LOGFILE): No such file or directory\n"
    assert capsys.readouterr() == ("", said)
    now += logs.COMPLAINTS - 1
    Log.msg("x")
    assert capsys.readouterr() == ("", "")
    now += 2
    Log.msg("x")
    assert capsys.readouterr() == ("", said)
    (tmp_path / "gone").mkdir()
    Log.msg("back")
    assert (tmp_path / "gone/log").read_text().endswith("back\n")
    config.PYRO_LOGFILE = "."
    Log.msg("x")
    assert capsys.readouterr().err == f"gpyro: cannot write the log {tmp_path} (PYRO_LOGFILE): Is a directory\n"


def test_raw_raises_what_goes_wrong(config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    config.PYRO_LOGFILE = "gone/log"
    with pytest.raises(FileNotFoundError):
        Log.raw("x")
    assert capsys.readouterr() == ("", "")


def test_a_pipe_that_nobody_reads_holds_nobody(
    config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config.PYRO_TRACELEVEL = 3
    config.PYRO_LOGFILE = "pipe"
    os.mkfifo(tmp_path / "pipe")
    Log.msg("x")
    assert "pipe (PYRO_LOGFILE): No such device or address" in capsys.readouterr().err


def test_without_stderr(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    config.PYRO_TRACELEVEL = 3
    config.PYRO_LOGFILE = "gone/log"
    monkeypatch.setattr(logs.sys, "stderr", None)
    Log.msg("x")


def test_a_configuration_that_cannot_be_read_is_no_reason_to_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "config", Config({"GPYRO_NONESUCH": "1"}))
    Log.error("x")
    LibraryLog("test_logs").info("x")
    with pytest.raises(ConfigurationError):
        Log.raw("x")


def test_a_greenlet_that_does_not_tell_its_name(config: Config) -> None:
    class Odd(gevent.Greenlet):
        @property
        def name(self) -> str:
            raise ZeroDivisionError

    config.PYRO_TRACELEVEL = 3
    for say in (Log.msg, LibraryLog("test_logs").error):
        odd = Odd(say, "x")
        odd.start()
        odd.join()
        assert odd.successful()
    assert lines(config) == []


def test_stderr_can_be_the_file(tmp_path: Path) -> None:
    code = "from gpyro.util import Log; Log.msg('here', 'we are')"
    environment = {"PYRO_TRACELEVEL": "3", "PYRO_LOGFILE": "/dev/stderr"}
    code, out, err = run_python(code, environment=environment)
    assert (code, out) == (0, "")
    assert err.endswith("] ** NOTE ** here ** we are\n")


def test_what_is_thrown_at_the_one_who_logs_gets_through(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    def late(path: str, text: str) -> None:
        raise gevent.Timeout

    monkeypatch.setattr(logs, "append", late)
    config.PYRO_TRACELEVEL = 3
    with pytest.raises(gevent.Timeout):
        Log.msg("x")


# ---- beside the program's own logging


def test_the_programs_logging_makes_no_difference(
    config: Config, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    config.PYRO_TRACELEVEL = 3
    monkeypatch.setattr(logging, "logProcesses", False)
    monkeypatch.setattr(logging, "logThreads", False)
    factory = logging.getLogRecordFactory()
    logging.setLogRecordFactory(lambda *arguments, **named: 1 / 0)
    logging.disable(logging.CRITICAL)
    try:
        Log.msg("x", "y")
    finally:
        logging.setLogRecordFactory(factory)
        logging.disable(logging.NOTSET)
    assert re.fullmatch(rf"{STAMP} \[{os.getpid()}:MainThread\] \*\* NOTE \*\* x \*\* y", lines(config)[0])
    assert caplog.records == []
    for logger in ("", "gpyro", logs.SYSTEM, logs.USER):
        assert not any(isinstance(handler, logs.LogFile) for handler in logging.getLogger(logger).handlers)


# ---- who speaks


def test_names_of_threads_and_greenlets() -> None:
    names = []

    def note() -> None:
        names.append(thread_name())

    note()
    thread = threading.Thread(target=note, name="mine")
    thread.start()
    thread.join()
    assert names == ["MainThread", "mine"]
    gevent.spawn(note).join()
    assert re.fullmatch(r"MainThread/Greenlet-\d+", names[-1])
    named = gevent.Greenlet(note)
    named.name = "reader"
    named.start()
    named.join()
    assert names[-1] == "MainThread/reader"
    bare = greenlet(lambda: (note(), note()))
    bare.switch()
    assert re.fullmatch(r"MainThread/greenlet-[0-9a-f]{1,6}", names[-1])
    assert names[-1] == names[-2]
    gevent.get_hub().loop.run_callback(note)
    gevent.sleep(0.001)
    assert re.fullmatch(r"MainThread/Hub-[0-9a-f]{1,6}", names[-1])


def test_names_where_threads_are_greenlets() -> None:
    code = """
        from gevent import monkey
        monkey.patch_all()
        import gevent, os, threading
        from gpyro.logs import thread_name
        def note():
            print(thread_name(), flush=True)
        note()
        gevent.spawn(note).join()
        thread = threading.Thread(target=note, name="mine")
        thread.start()
        thread.join()
        gevent.get_hub().threadpool.apply(lambda: gevent.spawn(note).join())
        if os.fork() == 0:
            gevent.spawn(note).join()
            os._exit(0)
        os.wait()
        """
    code, out, err = run_python(code)
    assert (code, err) == (0, "")
    main, spawned, thread, pool, child = out.splitlines()
    assert (main, thread) == ("MainThread", "mine")
    assert re.fullmatch(r"MainThread/Greenlet-\d+", spawned)
    assert re.fullmatch(r"Thread-\d+/Greenlet-\d+|Dummy-\d+/Greenlet-\d+", pool)
    assert re.fullmatch(r"MainThread/Greenlet-\d+", child)


def test_calls_have_names_of_their_own(config: Config) -> None:
    class Speaker(core.ObjBase):
        def speak(self) -> str:
            Log.msg("speaker", "hello")
            return thread_name()

    config.PYRO_TRACELEVEL = 3
    speaker = Speaker()
    with serving(speaker) as daemon:
        name = core.getProxyForURI(uri_of(daemon, speaker)).speak()
    assert re.fullmatch(r"MainThread/worker-\d+", name)
    assert f"[{os.getpid()}:{name}] ** NOTE ** speaker ** hello" in lines(config)[-1]


def test_an_entry_may_be_written_in_the_hub(config: Config) -> None:
    config.PYRO_TRACELEVEL = 3
    gevent.get_hub().loop.run_callback(Log.msg, "hub", "speaks")
    gevent.sleep(0.001)
    assert texts(config) == ["NOTE ** hub ** speaks"]


@pytest.mark.parametrize("patching", ["unpatched", "patched"])
def test_entries_of_greenlets_threads_and_processes_stay_whole(patching: str, tmp_path: Path) -> None:
    code = """
        import sys
        if sys.argv[1] == "patched":
            from gevent import monkey
            monkey.patch_all()
        import os, threading
        import gevent
        from gpyro.util import Log, UserLogger
        user = UserLogger()
        def work(thread):
            def greenlet(number):
                for entry in range(20):
                    text = f"{os.getpid()} {thread} {number} {entry} ".ljust(2000, "x")
                    Log.msg("many", text)
                    user.msg("many", text)
                    gevent.sleep(0)
            gevent.joinall([gevent.spawn(greenlet, number) for number in range(5)])
        children = 0
        for _ in range(2):
            if os.fork() == 0:
                children = -1
                break
            children += 1
        threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for _ in range(children):
            os.wait()
        """
    environment = {"PYRO_STORAGE": str(tmp_path), "PYRO_TRACELEVEL": "3", "PYRO_USER_TRACELEVEL": "3"}
    assert run_python(code, patching, environment=environment) == (0, "", "")
    for name in ("Pyro_log", "Pyro_userlog"):
        found = (tmp_path / name).read_text().splitlines()
        shape = re.compile(STAMP + r" \[\d+:[^]]+\] \*\* NOTE \*\* many \*\* \d+ \d \d \d+ +x+")
        assert all(shape.fullmatch(line) and len(line.partition("many ** ")[2]) == 2000 for line in found)
        assert len({line.partition("many ** ")[2] for line in found}) == len(found) == 3 * 3 * 5 * 20


# ---- the library's own messages


def test_warnings_are_seen_where_nobody_set_up_logging() -> None:
    program = "from gpyro.logs import log; log.info('more'); log.warning('heard')"
    assert run_python(program) == (0, "", "heard\n")
    assert logs.log.name == "gpyro"


def test_the_librarys_messages_go_to_pythons_loggers_and_to_the_system_log(
    config: Config, caplog: pytest.LogCaptureFixture
) -> None:
    speaker = LibraryLog("gpyro.part")
    speaker.warning("silent %d", 0)
    assert lines(config) == []
    config.PYRO_TRACELEVEL = 2
    speaker.info("no %s", "matter")
    speaker.warning("odd: %s", "peer")
    speaker.critical("over")
    config.PYRO_TRACELEVEL = 3
    speaker.info("100 %")
    speaker.debug("%(who)s", {"who": "x"})
    assert texts(config) == [
        "WARN ** gpyro.part ** odd: peer",
        "ERR! ** gpyro.part ** over",
        "NOTE ** gpyro.part ** 100 %",
        "NOTE ** gpyro.part ** x",
    ]
    assert caplog.messages == ["silent 0", "odd: peer", "over"]  # as far as the root logger's level lets them through
    assert {record.funcName for record in caplog.records} == {
        "test_the_librarys_messages_go_to_pythons_loggers_and_to_the_system_log"
    }


def test_the_system_log_shows_tracebacks(config: Config, caplog: pytest.LogCaptureFixture) -> None:
    config.PYRO_TRACELEVEL = 1
    speaker = LibraryLog("gpyro.part")
    try:
        raise KeyError("lost")
    except KeyError as error:
        speaker.exception("first")
        kept = error
    speaker.error("second", exc_info=kept)
    found = texts(config)
    assert [text for text in found if text.startswith("ERR!")] == [
        "ERR! ** gpyro.part ** first",
        "ERR! ** gpyro.part ** second",
    ]
    assert lines(config).count("KeyError: 'lost'") == 2
    assert [record.exc_info[1] for record in caplog.records if record.exc_info] == [kept, kept]


def test_what_a_daemon_says_is_in_the_system_log(config: Config, caplog: pytest.LogCaptureFixture) -> None:
    class Fails(core.ObjBase):
        def fail(self) -> None:
            raise ZeroDivisionError("far")

    config.PYRO_TRACELEVEL = 3
    obj = Fails()
    with serving(obj, "fails") as daemon:
        with contextlib.suppress(ZeroDivisionError):
            core.getProxyForURI(uri_of(daemon, obj)).fail()
        with contextlib.suppress(AttributeError):
            core.getProxyForURI(uri_of(daemon, obj)).nonesuch()
    text = "\n".join(lines(config))
    assert "** WARN ** gpyro ** 'Fails' is connected as 'fails'" in text
    assert re.search(
        r"worker-\d+\] \*\* WARN \*\* gpyro\.dispatch \*\* call \d+ of .* raised ZeroDivisionError\n", text
    )
    assert "ZeroDivisionError: far" in text
    assert re.search(r"worker-\d+\] \*\* WARN \*\* gpyro\.net \*\* call \d+ of .* refused: ", text)


# ---- PYRO_STDLOGGING

SPEAK = """
    import logging, sys
    from gpyro import config
    from gpyro.logs import LibraryLog
    from gpyro.util import Log, UserLogger
    exec(sys.argv[1])
    user = UserLogger()
    Log.msg("me", "note %s")
    Log.warn("warning")
    user.error("me", "user's")
    Log.raw("raw\\n")
    LibraryLog("gpyro.net").info("library's %s", "note")
    LibraryLog("gpyro.net").warning("library's warning")
    print(logging.getLogger("gpyro.system").level, logging.getLogger("gpyro").level, file=sys.stderr)
    """


def speak(tmp_path: Path, first: str = "", **environment: str) -> list[str]:
    environment = {"PYRO_STORAGE": str(tmp_path), "PYRO_STDLOGGING": "1", "PYRO_TRACELEVEL": "3", **environment}
    code, out, err = run_python(SPEAK, first, environment=environment)
    assert (code, out) == (0, "")
    return err.splitlines()


def test_python_logging_without_a_file_of_its_own(tmp_path: Path) -> None:
    assert speak(tmp_path, PYRO_USER_TRACELEVEL="1") == ["0 0"]
    found = (tmp_path / "Pyro_log").read_text().splitlines()
    head = STAMP + r",\d{3} \[\d+:\d+\] \*\* "
    for line, text in zip(
        found,
        [
            "INFO ** me ** note %s",
            "WARNING ** N/A ** warning",
            "Level 999 ** raw",
            "",
            "INFO ** gpyro.net ** library's note",
            "WARNING ** gpyro.net ** library's warning",
        ],
        strict=True,
    ):
        assert re.fullmatch(head + re.escape(text), line) or line == text == ""
    assert re.fullmatch(head + r"ERROR \*\* me \*\* user's\n", (tmp_path / "Pyro_userlog").read_text())


def test_python_logging_follows_the_trace_levels(tmp_path: Path) -> None:
    speak(tmp_path, "config.PYRO_TRACELEVEL = 1")
    assert [line.partition("] ** ")[2] for line in (tmp_path / "Pyro_log").read_text().splitlines()] == [
        "Level 999 ** raw",
        "",
    ]
    assert not (tmp_path / "Pyro_userlog").exists()


def test_python_logging_goes_to_the_programs_handlers_once(tmp_path: Path) -> None:
    err = speak(tmp_path, "logging.basicConfig(format='%(name)s %(levelname)s %(message)s')", PYRO_USER_TRACELEVEL="1")
    assert err == [
        "gpyro.system INFO me ** note %s",
        "gpyro.system WARNING N/A ** warning",
        "gpyro.user ERROR me ** user's",
        "gpyro.system Level 999 raw",
        "",
        "gpyro.net INFO library's note",
        "gpyro.net WARNING library's warning",
        "0 0",
    ]


def test_a_level_of_the_logger_itself_counts_too(tmp_path: Path) -> None:
    speak(tmp_path, "logging.getLogger('gpyro.system').setLevel('ERROR')")
    assert [line.partition("] ** ")[2] for line in (tmp_path / "Pyro_log").read_text().splitlines()] == [
        "Level 999 ** raw",
        "",
        "INFO ** gpyro.net ** library's note",
        "WARNING ** gpyro.net ** library's warning",
    ]


LOGGING_CFG = """
[loggers]
keys=root,system
[handlers]
keys=file
[formatters]
keys=plain
[logger_root]
level=WARNING
handlers=
[logger_system]
qualname=gpyro.system
level=DEBUG
handlers=file
[handler_file]
class=FileHandler
args=({path!r},)
formatter=plain
[formatter_plain]
format=mine %(message)s
"""


def test_python_logging_with_a_file_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "logging.cfg").write_text(LOGGING_CFG.format(path=str(tmp_path / "mine")))
    err = speak(tmp_path, PYRO_USER_TRACELEVEL="1")
    # What has no handler in that file goes where Python sends it.
    assert err == ["me ** user's", "library's warning", "10 0"]
    assert (tmp_path / "mine").read_text() == "mine me ** note %s\nmine N/A ** warning\nmine raw\n\n"
    assert not (tmp_path / "Pyro_log").exists()


def test_a_logging_file_that_cannot_be_loaded_is_told_of(tmp_path: Path) -> None:
    (tmp_path / "logging.cfg").write_text("[loggers]\nkeys=root\n")
    err = speak(tmp_path)
    assert len(err) == 2
    assert err[0].startswith(f"gpyro: cannot load {tmp_path}/logging.cfg (PYRO_STDLOGGING_CFGFILE): ")
    assert "INFO ** me ** note %s" in (tmp_path / "Pyro_log").read_text()


def test_names_of_the_two_logs() -> None:
    assert isinstance(Log, SystemLogger)
    assert (logs.SYSTEM, logs.USER) == ("gpyro.system", "gpyro.user")
    handler: Any = SystemLogger._file
    assert handler.lock is None
