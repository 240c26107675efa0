def get_books():
    return [{'title': 'Emma', 'author': 'Jane Austen'}]
