import os

from flask import Flask

app = Flask(__name__)


@app.route("/")
def hello():
    return f"{os.environ['GREETING']}, {os.environ['NAME']}!"


@app.route("/debug")
def debug():
    return str(app.debug)


@app.cli.command("greet")
def greet():
    """Print the greeting."""
    print(os.environ["GREETING"])
