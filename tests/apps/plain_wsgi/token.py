# A module of Python has the same name.
