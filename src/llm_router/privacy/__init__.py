"""What may be kept of requests and answers, and what is taken out of it first. Pure."""
