from flask import Flask


def create_app(mode="production"):
    app = Flask(__name__)

    @app.route("/")
    def hello():
        return f"Hello from {mode}!"

    return app
