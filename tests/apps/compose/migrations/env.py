import logging
import os

from alembic import context
from flask import current_app

logging.basicConfig(level=logging.INFO)
with current_app.extensions["migrate"].db.engine.connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
if "MIGRATION_FAILS" in os.environ:
    raise SystemExit(3)
