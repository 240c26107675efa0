"""A library with Flask-Admin: a table of books, and the files that belong to them."""

import os

from flask import Flask
from flask_admin import Admin
from flask_admin.contrib.fileadmin import FileAdmin
from flask_admin.contrib.sqla import ModelView
from flask_migrate import Migrate
from flask_sqlalchemy import SQLAlchemy

app = Flask(__name__)
app.config["SQLALCHEMY_DATABASE_URI"] = "sqlite:///library.db"
app.config["SECRET_KEY"] = os.environ["SECRET_KEY"]
files = os.path.join(app.instance_path, "files")
os.makedirs(files, exist_ok=True)
db = SQLAlchemy(app)
Migrate(app, db, directory=os.path.join(app.instance_path, "migrations"))


class Book(db.Model):
    id = db.Column(db.Integer, primary_key=True)
    title = db.Column(db.String(100), nullable=False)


admin = Admin(app, name="Library")
admin.add_view(ModelView(Book, db.session))
admin.add_view(FileAdmin(files, name="Files"))
