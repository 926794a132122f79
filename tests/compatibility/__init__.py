"""Stock Redis clients against a real server."""
