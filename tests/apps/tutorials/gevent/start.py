from gevent import monkey

monkey.patch_all()

import time

from flask import Flask

app = Flask(__name__)


@app.route("/")
def index():
    time.sleep(0.1)
    return "Hello from a greenlet"
