app = None  # MODULE_NAME names another one
