"""The ledger: what happened, in an SQLite file or a PostgreSQL database.

Owns the database: addresses, migrations, transactions, idempotent writes. The rows' models are in
`domain`; the truth about what is going on is Temporal's. Importing it does no I/O.
Source: DESIGN §5, triggers-and-actions.md §10.
"""

from activities.store.errors import StoreError
from activities.store.ledger import Ledger
from activities.store.store import Store, check_store, open_store

__all__ = ["Ledger", "Store", "StoreError", "check_store", "open_store"]
