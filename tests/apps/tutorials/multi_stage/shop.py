import os

import six
from flask import Flask, jsonify


def create_app():
    app = Flask(__name__)

    @app.get("/health")
    def health():
        return jsonify(status="ok", greeting=os.environ.get("GREETING"), six=six.__version__)

    return app
