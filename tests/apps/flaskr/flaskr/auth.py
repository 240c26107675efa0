from flask import (
    Blueprint, flash, redirect, render_template, request, session, url_for
)

bp = Blueprint('auth', __name__, url_prefix='/auth')


@bp.route('/login', methods=('GET', 'POST'))
def login():
    if request.method == 'POST':
        username = request.form['username']
        error = None

        if username != 'ada':
            error = 'Incorrect username.'

        if error is None:
            session.clear()
            session['username'] = username
            return redirect(url_for('auth.whoami'))

        flash(error)

    return render_template('auth/login.html')


@bp.route('/whoami')
def whoami():
    return f"You are {session.get('username', 'nobody')}."
