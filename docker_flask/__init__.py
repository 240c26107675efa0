"""The program that runs the container, one package for each kind of process."""
