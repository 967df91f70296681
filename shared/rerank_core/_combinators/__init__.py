"""Scorers made of scorers; they nest freely."""
