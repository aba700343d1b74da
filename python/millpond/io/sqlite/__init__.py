"""A SQLite file that several processes read and write at once: what the SQLite tier stands on."""
