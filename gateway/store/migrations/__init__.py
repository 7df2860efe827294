"""The database's history, one file for each step, run by alembic. A step is never changed after a release."""
