import os

from flask import Flask
from words import WELCOME

application = Flask(__name__)


@application.route("/")
def welcome():
    return f"{WELCOME} to {os.getcwd()}"
