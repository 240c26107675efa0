from flask import Blueprint

blueprint = Blueprint("api", __name__)


@blueprint.route("/users/")
def get_users():
    return {"users": ["ada", "grace"]}
