"""Many samples proven in one run that a person can leave alone: checked beforehand, recorded, interrupted and continued."""
