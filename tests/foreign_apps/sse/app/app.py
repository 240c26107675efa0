"""A chat with Flask-SSE: what one says, all who listen hear."""

import os

from flask import Flask, request
from flask_sse import sse

app = Flask(__name__)
app.config["REDIS_URL"] = os.environ["REDIS_URL"]
app.register_blueprint(sse, url_prefix="/stream")


@app.get("/")
def page():
    ((_, listeners),) = sse.redis.pubsub_numsub("sse")
    return f"{listeners} listen\n"


@app.post("/say")
def say():
    sse.publish(request.form["text"])
    return "said\n"
