import os

from flask import Flask, send_from_directory

app = Flask(__name__)
app.config['IMAGE_FOLDER'] = os.path.join(app.root_path, 'images')


@app.route('/')
def index():
    return '<img src="/images/logo.png">'


@app.route('/images/<path:filename>')
def image(filename):
    return send_from_directory(app.config['IMAGE_FOLDER'], filename)


if __name__ == '__main__':
    app.run(debug=True)
