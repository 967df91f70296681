"""Scorers that wrap other scorers; they nest freely."""
