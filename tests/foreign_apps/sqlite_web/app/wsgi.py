"""The application of sqlite-web, which has to be told its databases."""

import os

from sqlite_web.sqlite_web import app as app
from sqlite_web.sqlite_web import initialize_app

initialize_app(["/data/teas.db"], password=os.environ["SQLITE_WEB_PASSWORD"])
