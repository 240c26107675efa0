"""WebSockets by flask-sock and Flask-SocketIO, and views that have none."""

import threading, time
from flask import Flask, request
from flask_sock import Sock
from flask_socketio import SocketIO, emit

app = Flask(__name__)
sock, socketio = Sock(app), SocketIO(app)

@sock.route("/echo")
def echo(ws):
    while True:
        ws.send(ws.receive())

@sock.route("/late")
def late(ws):
    """Receive thirty messages, after two seconds, and say how many."""
    time.sleep(2)
    ws.send(str(len([ws.receive() for _ in range(30)])))

@sock.route("/only-sends")
def only_sends(ws):
    while True:
        ws.send("tick")
        time.sleep(0.1)

@sock.route("/once")
def once(ws):
    ws.send(ws.receive())

@sock.route("/fails")
def fails(ws):
    raise KeyError("of the view")

@socketio.on("say")
def say(data):
    emit("said", data)

@app.get("/")
def hello():
    return "hello"

@app.get("/wait")
def wait():
    time.sleep(float(request.args["s"]))
    return "waited"

@app.get("/upgrade")
def upgrade():
    return request.headers.get("Upgrade", "none")

@app.get("/switch")
def switch():
    return "", "101 Switching Protocols", {"Upgrade": "h2c", "Connection": "upgrade"}

class Slow:  # a handshake to it never gets an answer
    def __init__(self, application):
        self.application = application
    def __call__(self, environ, start_response):
        if environ["PATH_INFO"] == "/hangs":
            time.sleep(1000)
        return self.application(environ, start_response)

app.wsgi_app = Slow(app.wsgi_app)
