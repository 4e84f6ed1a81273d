"""The versions of the schema, as Alembic scripts. Run by `activities.store.migrator`.

Owns what each version changes. A version that was shipped never changes again.
"""
