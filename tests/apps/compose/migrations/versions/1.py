import sqlalchemy as sa
from alembic import op

revision, down_revision = "1", None


def upgrade():
    op.create_table("note", sa.Column("text", sa.Text, primary_key=True))
    op.create_table(
        "tick",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.func.now()),
    )
