from flask import Flask, redirect, url_for
from markupsafe import escape

app = Flask(__name__)


@app.route('/')
def index():
    return redirect(url_for('show_user_profile', username='guest'))


@app.route('/user/<username>')
def show_user_profile(username):
    # show the user profile for that user
    return f'User {escape(username)}'


@app.route('/post/<int:post_id>')
def show_post(post_id):
    # show the post with the given id, the id is an integer
    return f'Post {post_id}'


if __name__ == '__main__':
    app.run(host='0.0.0.0', port=5000)
