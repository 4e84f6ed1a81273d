"""The durable state machines: routine, run, control."""
