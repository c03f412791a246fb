"""Ways out to other libraries, and in: one file each, imported when it is used."""
