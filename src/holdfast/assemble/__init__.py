"""The only place that knows which engine, client and loop go together."""
