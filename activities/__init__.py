"""Everything that touches the world: models, deliveries, the store, other workflows."""
