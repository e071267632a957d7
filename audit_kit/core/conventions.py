"""What the readers of backups write and the rules look for: evidence levels, our own name, log segments."""

DATA_READ, COMPARED, OPENED = 2, 3, 4  # evidence levels; 0 is listed, 1 structure checked
WHOLE_PERCENT = 100.0
OURS = "audit-kit"  # who made a check that reading a backup was
WAL = "wal/"  # how the path of a log segment begins in a listing
SEGMENT_BYTES = 16 << 20
LEAST_LETTERS = 6  # of an id that is given by its beginning
