"""Which lines of the servers the log shows."""

from __future__ import annotations

import pytest

from docker_flask.supervisor.log_relay import hide_servers

HIDDEN = """\
[uWSGI] getting INI configuration from /opt/docker-flask/app.ini
uwsgi socket 0 inherited UNIX address /run/docker-flask/app1-3112fda4.sock fd 3
uWSGI - running "call:PyRun_SimpleString take_environment()" (asap)...
uWSGI - *** Starting uWSGI 2.0.31 (64bit) on [Sun Nov 22 23:48:14 2026] ***
uWSGI - compiled with version: 14.2.0 on 01 January 1980 00:00:00
uWSGI - os: Linux-6.18.44 #1 SMP PREEMPT_DYNAMIC @0
uWSGI - detected number of CPU cores: 2
uWSGI - thunder lock: disabled (you can enable it with --thunder-lock)
uWSGI - Python version: 3.13.5 (main, Aug 10 2026, 12:06:59) [GCC 14.2.0]
uWSGI - mapped 321969024 bytes (314422 KB) for 1024 cores
uWSGI - *** Operational MODE: preforking+threaded ***
uWSGI - spawned uWSGI worker 1 (pid: 9, cores: 128)
uWSGI - WSGI app 0 (mountpoint='') ready in 0 seconds on interpreter 0xa84590 pid: 9 (default app)
uWSGI - Respawned uWSGI worker 1 (new pid: 51)
uWSGI - Sun Nov 22 23:21:28 2026 - stopping gevent signals watchers for worker 1 (pid: 10)...
uWSGI - goodbye to uWSGI.
uWSGI - Sun Nov 22 23:21:28 2026 - uWSGI worker 2 error: the master disconnected from this worker. \
Shutting down the worker.
2026/11/22 23:48:15 [notice] 12#12: using inherited sockets from "3;4;5;"
2026/11/22 23:48:15 [error] 14#14: *1 connect() to unix:/run/docker-flask/app.sock failed (11: \
Resource temporarily unavailable) while connecting to upstream, client: 1.2.3.4
2026/11/22 23:48:15 [warn] 14#14: *1 a client request body is buffered to a temporary file /x/1
"""
SHOWN = """\
uWSGI - DAMN ! worker 1 (pid: 26) died, killed by signal 9 :( trying respawn ...
uWSGI - [strict-mode] unknown config directive: proceses
uWSGI - *** WARNING: you are running uWSGI as root !!! (use the --uid flag) ***
uWSGI - *** uWSGI listen queue of socket "/x" (fd: 3) full !!! (1025/1024) ***
uWSGI - unable to load configuration from /app/other.ini
uWSGI - bind(): Address already in use [core/socket.c line 769]
2026/11/22 23:48:15 [warn] 14#14: *1 limiting connections by zone "requests", client: 1.2.3.4
2026/11/22 23:48:15 [error] 14#14: *1 open() "/x/y" failed (13: Permission denied)
[2026-11-22 23:21:02 +0000] [28] [ERROR] Worker (pid:29) was sent SIGKILL! Perhaps out of memory?
[ERROR] Unexpected exit from worker-1
uWSGI - !!! uWSGI process 9 got Segmentation Fault !!!
uWSGI - *** backtrace of 9: uwsgi(uwsgi_backtrace+0x2a) [0x46c9aa] ***
uWSGI - command "false" exited with non-zero code: 1
uWSGI - no python application found, check your startup logs for errors
uWSGI - *** no app loaded. going in full dynamic mode ***
os: an application's own line
spawned uWSGI worker 1 (pid: 9, cores: 128)
the application says uWSGI - goodbye to uWSGI.
"""


@pytest.mark.parametrize("text", [HIDDEN + SHOWN, SHOWN + HIDDEN, HIDDEN + SHOWN + HIDDEN])
def test_only_errors_warnings_and_lines_of_the_application_are_shown(text: str) -> None:
    filtered = hide_servers(text.encode()).decode()
    assert filtered == SHOWN


def test_a_line_in_two_pieces_is_kept() -> None:
    assert hide_servers(b"uWSGI - spawned uW") == b"uWSGI - spawned uW"
