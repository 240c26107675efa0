"""What an application may expect of the process that runs it, each on a page of its own."""

import datetime
import logging
import multiprocessing
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
import zoneinfo

from flask import Flask, request

WORDS = "grüße, 名字"

app = Flask(__name__)

# Stands for a connection to a database that is opened at import.
connection, _other_end = socket.socketpair()
imported_by = os.getpid()
ticks = 0


def tick():
    global ticks
    while True:
        ticks += 1
        time.sleep(0.01)


threading.Thread(target=tick, daemon=True).start()


@app.get("/worker")
def worker():
    """Which process this is; slow, so that several requests at once meet several workers."""
    time.sleep(request.args.get("s", 0.0, type=float))
    return {
        "pid": os.getpid(),
        "imported_by": imported_by,
        "connection": os.fstat(connection.fileno()).st_ino,
        "ticks": ticks,
    }


@app.get("/children")
def children():
    """Starts processes in the usual ways and ends them; slow, to meet several threads."""
    time.sleep(request.args.get("s", 0.0, type=float))
    printed = subprocess.run([sys.executable, "-c", "print('grüße')"], stdout=subprocess.PIPE, text=True, check=True)
    program = subprocess.Popen(["sleep", "100"])
    with open(f"/proc/{program.pid}/status") as status:
        # Of the standard signals; 32 and 33 are the C library's own.
        masks = {line[:6]: int(line[7:], 16) & 0x7FFFFFFF for line in status if line[:4] in ("SigB", "SigI")}
    program.terminate()
    function = multiprocessing.Process(target=time.sleep, args=[100])
    function.start()
    function.terminate()
    function.join(5)
    with multiprocessing.Pool(2) as pool:
        squares = pool.map(square, range(4))
    pool.join()
    return {
        "printed": printed.stdout,
        "blocked": masks["SigBlk"],
        "ignored": masks["SigIgn"],
        "program": program.wait(5),
        "function": function.exitcode,
        "squares": squares,
    }


def square(number):
    return number * number


@app.get("/time")
def the_time():
    """The offset from UTC, by each way to ask for it."""
    record = logging.LogRecord("name", logging.INFO, __file__, 1, "text", (), None)
    now = datetime.datetime.now().astimezone()
    berlin = datetime.datetime.now(zoneinfo.ZoneInfo("Europe/Berlin"))
    return {
        "localtime": time.strftime("%z"),
        "datetime": now.strftime("%z"),
        "logging": logging.Formatter("%(asctime)s", "%z").format(record),
        "Berlin": berlin.strftime("%z"),
    }


@app.get("/text")
def text():
    """Text that is no ASCII, in and out by each way."""
    with tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(folder, WORDS), "w") as file:
            file.write(WORDS)
        names = os.listdir(folder)
        with open(os.path.join(folder, names[0])) as file:
            content = file.read()
        listed = subprocess.run(["ls", folder], stdout=subprocess.PIPE, text=True, check=True)
    print("printed", WORDS)
    app.logger.warning("logged %s", WORDS)
    return {"names": names, "content": content, "listed": listed.stdout.strip()}


@app.get("/say")
def say():
    """Writes to stdout and stderr, as applications do."""
    for number in range(request.args.get("n", 1, type=int)):
        print(f"printed {number}")
        app.logger.warning("logged %d", number)
    return "said"
