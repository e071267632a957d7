"""What every room stands on: errors, policy, schema, identity, words."""
