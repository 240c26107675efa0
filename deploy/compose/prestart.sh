# Runs before the application, and before each command.
SECRET_KEY=$(cat /run/secrets/secret_key)
DATABASE_URL=postgresql+psycopg://flaskapp:$(cat /run/secrets/db_password)@db/flaskapp
export SECRET_KEY DATABASE_URL
