from flask import Flask

from .api import api

app = Flask(__name__)
app.register_blueprint(api.blueprint, url_prefix="/api")


@app.route("/")
def index():
    return "Hello from the package's main module"


if __name__ == "__main__":
    # Only for debugging while developing
    app.run(host="0.0.0.0", debug=True, port=80)
