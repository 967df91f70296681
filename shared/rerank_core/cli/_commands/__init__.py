"""The commands with many options, one file each."""
