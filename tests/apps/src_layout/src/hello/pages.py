from flask import Blueprint

bp = Blueprint("pages", __name__)


@bp.route("/")
def home():
    return "Hello from src!"


@bp.route("/about")
def about():
    return "About a layout"
