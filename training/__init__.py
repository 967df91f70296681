"""Recipe of the embedded model; see README.md in this folder."""
