"""HTTPS: the certificate and its key, from files or from an authority."""
