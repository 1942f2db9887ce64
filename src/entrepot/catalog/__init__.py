"""The catalog: the only SQL. Sync SQLAlchemy Core, run by callers in a bounded thread pool."""

from sqlalchemy import Connection as Connection  # what every function of this floor takes; the driver stays down here
