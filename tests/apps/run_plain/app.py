from flask import Flask, jsonify, request

app = Flask(__name__)

tasks = [
    {'id': 1, 'title': 'Buy groceries', 'done': False},
    {'id': 2, 'title': 'Learn Python', 'done': True},
]


@app.route('/tasks', methods=['GET'])
def get_tasks():
    return jsonify({'tasks': tasks})


@app.route('/tasks', methods=['POST'])
def create_task():
    if not request.json or 'title' not in request.json:
        return jsonify({'error': 'Bad request'}), 400
    task = {'id': tasks[-1]['id'] + 1, 'title': request.json['title'], 'done': False}
    return jsonify({'task': task}), 201


if __name__ == '__main__':
    app.run()
