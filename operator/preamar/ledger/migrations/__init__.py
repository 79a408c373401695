"""How a ledger of any version becomes one of this version: Alembic's revisions, in order."""
