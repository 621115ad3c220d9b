"""Runs the command line as if on a system that is not POSIX: what Python has only there is taken away first.

`python elsewhere.py ARGUMENTS…`
"""

import asyncio  # noqa: F401 - these look for what is taken away while they are imported
import concurrent.futures.process  # noqa: F401
import logging  # noqa: F401
import multiprocessing.util  # noqa: F401
import os
import random  # noqa: F401
import select
import shutil  # noqa: F401
import signal
import subprocess
import sys
import tempfile  # noqa: F401
import threading  # noqa: F401
import webbrowser  # noqa: F401

MODULES = ("fcntl", "grp", "pwd", "resource", "termios", "tty", "pty", "syslog", "readline", "curses")
SIGNALS = (
    "SIGHUP SIGKILL SIGQUIT SIGALRM SIGCHLD SIGCONT SIGSTOP SIGTSTP SIGUSR1 SIGUSR2 SIGPIPE SIG_BLOCK SIG_UNBLOCK SIG_SETMASK "
    "pthread_sigmask pthread_kill sigwait sigtimedwait sigpending setitimer getitimer siginterrupt alarm pause ITIMER_REAL ITIMER_VIRTUAL ITIMER_PROF"
)
SYSTEM = (
    "register_at_fork fork forkpty geteuid getuid getegid getgid getgroups setuid setgid fchmod fchown chown lchown chroot killpg getpgid getpgrp "
    "setsid mkfifo mknod uname sysconf confstr wait waitid statvfs fstatvfs pread pwrite sync fdatasync nice getloadavg "
    "O_NONBLOCK O_NOFOLLOW O_CLOEXEC O_DIRECTORY O_SYNC O_DSYNC O_NOCTTY posix_spawn posix_spawnp lockf ttyname openpty"
)


def leave_posix() -> None:
    for name in MODULES:
        sys.modules[name] = None
    for module, names in ((signal, SIGNALS), (os, SYSTEM), (select, "poll epoll kqueue")):
        for name in names.split():
            if hasattr(module, name):
                delattr(module, name)
    subprocess._USE_POSIX_SPAWN = False  # it has looked for it when it was imported, and Python 3.13 uses it more often


if __name__ == "__main__":
    leave_posix()
    from migrate_graph.cli import main

    sys.exit(main())
