"""What tutorials show of Flask, in one file."""

import os

from flask import Flask, jsonify, redirect, render_template, request, send_from_directory, url_for
from markupsafe import escape

app = Flask(__name__)
app.config['IMAGE_FOLDER'] = os.path.join(app.root_path, 'images')

tasks = [
    {'id': 1, 'title': 'Buy groceries', 'done': False},
    {'id': 2, 'title': 'Learn Python', 'done': True},
]


@app.route('/')
def index():
    return redirect(url_for('hello', name='guest'))


@app.route('/user')
def user():
    return f"User {escape(request.args.get('name', 'World'))}"


@app.route('/post/<int:post_id>')
def show_post(post_id):
    return f'Post {post_id}'


@app.route('/tasks', methods=['GET'])
def get_tasks():
    return jsonify({'tasks': tasks})


@app.route('/tasks', methods=['POST'])
def create_task():
    if not request.json or 'title' not in request.json:
        return jsonify({'error': 'Bad request'}), 400
    task = {'id': tasks[-1]['id'] + 1, 'title': request.json['title'], 'done': False}
    return jsonify({'task': task}), 201


@app.route('/images/<path:filename>')
def image(filename):
    return send_from_directory(app.config['IMAGE_FOLDER'], filename)


@app.route('/hello/')
@app.route('/hello/<name>')
def hello(name=None):
    return render_template('hello.html', name=name)


if __name__ == '__main__':
    app.run(host='0.0.0.0', debug=True)
