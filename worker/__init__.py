"""Wiring: settings to clients to activities to workers, and the dev stack."""
