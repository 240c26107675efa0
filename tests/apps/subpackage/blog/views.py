from flask import Blueprint, abort, render_template

blog = Blueprint('blog', __name__, template_folder='templates')
posts = {1: 'Tea & biscuits'}


@blog.route('/<int:number>')
def post(number):
    if number not in posts:
        abort(404)
    return render_template('blog/post.html', title=posts[number])
