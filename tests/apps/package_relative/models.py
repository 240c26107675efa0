def greeting(name):
    return f'Hello from the {name}!'
