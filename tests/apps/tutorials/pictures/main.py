import os

from flask import Flask, render_template

app = Flask(__name__)
FOLDER = os.path.join(app.static_folder, "pictures")


@app.route("/")
def index():
    return render_template("index.html", names=sorted(os.listdir(FOLDER)))


if __name__ == "__main__":
    app.run(host="0.0.0.0", port=8080)
