"""What talks to the outside: client libraries (one file each), codecs, deadlines, redaction."""
