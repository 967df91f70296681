"""What scorers that ask a service over HTTP share."""
